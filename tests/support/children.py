"""Modules and code that tests run in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Of a child that finds this checkout's packages, `tests` included, and computes with one thread."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run(*arguments: object, timeout: float = 500, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS...`, for example `run("-m", "tests.support.kill_probe", ...)`, to its end; its output is text."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=timeout, check=False, **options)


def gone(pid: int) -> bool:
    """No process of that id, or one that only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
