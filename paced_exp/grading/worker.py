"""The child process that runs math-verify and `rules`, started by path (`python -P worker.py CPU_SECONDS MEMORY_BYTES`), never imported.

Protocol: each line on stdin is a JSON request, `[gold, answer]` or `[gold, answer, percent]`; stdout says `ready` once, then `true` or `false`
for each request. The parent reads nothing else, so that a hostile answer has no other way to reach it.

The kernel enforces the limits, since a deep parser could swallow an exception of Python's: address space (RLIMIT_AS), and CPU time for each
grading (ITIMER_PROF, whose default action ends the process). It is CPU time so that a busy machine does not fail right answers; math-verify's
own alarms, which count wall time, are off for the same reason. A worker whose parent is killed ends by the timer or at the end of its stdin.
"""

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
    # macOS refuses RLIMIT_AS; there the CPU limit alone holds.
    if sys.platform == "linux":
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        allowed = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))


def make_verifier() -> Callable[..., bool]:
    """The rules of grading as a function (gold, answer, percent = False) -> bool; percent: whether the question speaks of percent."""
    # By file: this process must not have its own folder on the path, and must not find another copy of the package.
    spec = importlib.util.spec_from_file_location("grading_rules", Path(__file__).with_name("rules.py"))
    assert spec is not None and spec.loader is not None
    rules = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = rules
    spec.loader.exec_module(rules)
    read_gold = lru_cache(maxsize=GOLD_CACHE)(rules.read)

    def verifier(gold: str, answer: str, percent: bool = False) -> bool:
        return bool(rules.correct(read_gold(gold), rules.read(answer), percent))

    return verifier


def main() -> None:
    """Answer requests on standard input, a line each, until it ends; the limits come as arguments: seconds of CPU, bytes of memory."""
    cpu_seconds, memory_bytes = float(sys.argv[1]), int(sys.argv[2])
    replies = os.dup(1)
    # Whatever a library prints must not reach the protocol, nor model output the user's terminal.
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
