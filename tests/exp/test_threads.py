"""Threads sleep while they wait, unless the user has said otherwise: the environment is set before torch and numpy are loaded."""

import json
import os
import subprocess
import sys

_SHOW = (
    "import paced_exp, os, json; "
    "print(json.dumps([os.environ.get('OMP_WAIT_POLICY'), os.environ.get('OPENBLAS_NUM_THREADS'), 'torch' in __import__('sys').modules]))"
)


def _shown(**environment: str) -> list[object]:
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", _SHOW], env=clean | environment, capture_output=True, text=True, check=True)
    values: list[object] = json.loads(done.stdout)
    return values


def test_threads_sleep_by_default_and_nothing_heavy_is_loaded() -> None:
    assert _shown() == ["PASSIVE", "1", False]


def test_what_the_user_has_set_stays() -> None:
    assert _shown(OMP_WAIT_POLICY="ACTIVE", OPENBLAS_NUM_THREADS="2") == ["ACTIVE", "2", False]
