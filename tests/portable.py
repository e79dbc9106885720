"""Run tests/theory as other processors would: other vector code in NumPy, other BLAS kernels, other numbers of threads.

python tests/portable.py [pytest's arguments]

The last bit of exp, of a sum or of a matrix product differs between processors. A test that rests on it passes on the machine where it was
written and fails elsewhere; here it fails on the same machine. Each setting only takes away what this machine has, so it runs anywhere.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

from numpy._core import _multiarray_umath as numpy_core

ROOT = Path(__file__).parents[1]
#: OpenBLAS kernels that every x86-64 processor of the last ten years can run: SSE3 only, and AVX2.
OLDEST, NEWER = ("PRESCOTT", "HASWELL") if platform.machine() in ("x86_64", "AMD64") else ("", "")
#: Measures seconds, not numbers: the old kernels are slower.
TIMED = "tests/theory/test_claims.py::test_ledger_takes_at_most_45_seconds_of_one_core"


def settings() -> dict[str, dict[str, str]]:
    """Name -> environment variables."""
    beyond_baseline = [name for name in numpy_core.__cpu_dispatch__ if numpy_core.__cpu_features__[name]]
    wide = [name for name in beyond_baseline if "AVX512" in name or name == "X86_V4"]
    return {
        "NumPy's baseline code, the oldest BLAS kernel, one thread": threads(1) | blas(OLDEST) | without(beyond_baseline),
        "no AVX-512, a newer BLAS kernel, two threads": threads(2) | blas(NEWER) | without(wide),
    }


def threads(count: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(count), "OPENBLAS_NUM_THREADS": str(count)}


def blas(kernel: str) -> dict[str, str]:
    return {"OPENBLAS_CORETYPE": kernel} if kernel else {}


def without(features: list[str]) -> dict[str, str]:
    """NumPy refuses to disable what the machine lacks, so the list may be empty."""
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(features)} if features else {}


def main(arguments: list[str]) -> int:
    failed = 0
    for name, variables in settings().items():
        print(f"\n{name}: {' '.join(f'{key}={value!r}' for key, value in variables.items())}", flush=True)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "2",
            "--dist",
            "loadfile",
            "--deselect",
            TIMED,
            *(arguments or ["tests/theory"]),
        ]
        failed += subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=False).returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
