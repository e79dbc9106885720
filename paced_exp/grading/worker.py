"""The child process that runs math-verify and `rules`. It is started by path (`python -P worker.py CPU_SECONDS MEMORY_BYTES`), never imported.

Protocol: each line on stdin is a JSON request, `[gold, answer]` or `[gold, answer, percent]`. stdout says `ready` once, then `true` or `false`
for each request. The parent reads nothing else, so a hostile answer cannot reach it in another way.

The kernel enforces the limits, since a parser could swallow a Python exception. The limits are address space (RLIMIT_AS) and CPU time of each
grading (ITIMER_PROF, which by default ends the process). CPU time is used because a busy machine would exceed a limit of wall time on correct
answers; math-verify's own alarms count wall time and are off. If the parent is killed, the worker ends by the timer or at the end of its stdin.
"""

import importlib
import importlib.util
import json
import logging
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

GOLD_CACHE = 4096


def limit_process(memory_bytes: int) -> None:
    """Limit the address space to `memory_bytes`, write no core file, and ignore Ctrl-C (the parent ends its workers)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # macOS refuses RLIMIT_AS, so there only CPU time is limited.
    if sys.platform == "linux":
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        allowed = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))


def make_verifier() -> Callable[..., bool]:
    """The grading rules as a function (gold, answer, percent = False) -> bool. percent: whether the question speaks of percent."""
    # The package is loaded by path and under another name: this process must not have its own folder on sys.path, and must not find another
    # copy of the package.
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location("grading", folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = package
    spec.loader.exec_module(package)
    reading, rules = (importlib.import_module(f"{spec.name}.{name}") for name in ("reading", "rules"))
    read_gold = lru_cache(maxsize=GOLD_CACHE)(reading.read)

    def verifier(gold: str, answer: str, percent: bool = False) -> bool:
        return bool(rules.correct(read_gold(gold), reading.read(answer), percent))

    return verifier


def main() -> None:
    """Answer the requests on standard input, one on each line. Arguments: the limits, in seconds of CPU time and bytes of memory."""
    cpu_seconds, memory_bytes = float(sys.argv[1]), int(sys.argv[2])
    replies = os.dup(1)
    # A library's prints must not mix with the replies, and model output must not reach the user's terminal.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    limit_process(memory_bytes)
    try:
        verifier = make_verifier()
        verifier("1", "2")  # compiles math-verify's regular expressions before the first timed grading
    except Exception as error:
        os.write(replies, f"{type(error).__name__}: {error}"[:500].encode())
        sys.exit(1)
    os.write(replies, b"ready\n")
    for line in sys.stdin.buffer:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            correct = verifier(*request)
        except Exception:
            correct = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        os.write(replies, b"true\n" if correct else b"false\n")


if __name__ == "__main__":
    main()
