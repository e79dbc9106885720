"""Helpers of the attacks on trainings: the tests' tiny models, and one undisturbed training."""

import contextlib
import functools
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attack import harness

ROOT = Path(__file__).resolve().parent.parent
UPDATES = 6


#: Messages about run folders are longer: they may list ten differing options.
refused = partial(harness.refused, most=3000)


def said(run: Callable[[], object]) -> str:
    """What `run` prints on stderr."""
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        run()
    return printed.getvalue()


def _setup() -> Any:
    from tests.support import distill_setup  # loads torch, which most attacks do not need

    return distill_setup


@functools.cache
def _files() -> tuple[tempfile.TemporaryDirectory[str], Path, Path]:
    """Models and problems, kept until the process ends."""
    held = tempfile.TemporaryDirectory()
    folder = Path(held.name)
    setup = _setup()
    return held, setup.save_models(folder / "models"), setup.write_problems(folder / "sums.jsonl")


def argv(out: Path, **changes: Any) -> list[str]:
    """Arguments of `paced_exp.distill` on the tiny models: six updates of Adam, with a checkpoint after every second one."""
    _, models, source = _files()
    found: list[str] = _setup().arguments(models, source, out, **{"method": "uniform", "reference": "solution", **changes})
    return found


def train(out: Path) -> dict[str, Any]:
    """Start or resume the training in this process, with one thread. Returns the weights."""
    import torch
    from safetensors.torch import load_file

    import paced_exp.distill as distill

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            distill.main(argv(out))
    finally:
        torch.set_num_threads(threads)
    weights: dict[str, Any] = load_file(out / "model" / "model.safetensors")
    return weights


@functools.cache
def _whole() -> tuple[tempfile.TemporaryDirectory[str], Path, dict[str, Any]]:
    held = tempfile.TemporaryDirectory()
    return held, Path(held.name) / "run", train(Path(held.name) / "run")


def whole_run() -> tuple[Path, dict[str, Any]]:
    """The folder of a finished training, which must not be written to, and its weights."""
    _, folder, weights = _whole()
    return folder, weights


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Assert that the weights are equal bit for bit."""
    import torch

    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected), "the run ended with other weights"


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start a process that runs `code` and can import the package and the tests' helpers."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
