"""Run the probe in children that kill themselves with SIGKILL, one at each point of `POINTS`: `python -m tests.support.kill_probe ARGUMENTS...`.

The children are forked from one process that has imported everything, so that a kill costs no start-up. Fails where one ends otherwise.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paced_exp import snr_probe
from paced_exp.grading import grader as grading
from paced_exp.models.loading import load_model
from paced_exp.rollouts.store import ChunkStore
from tests.support.graders import HashGrader


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_line(journal: str, number: int) -> Callable[[], None]:
    """Killed when half of the `number`-th line of a journal of this run is written."""

    def patch() -> None:
        write, lines = ChunkStore._write, [0]

        def half(self: ChunkStore, file: Any, line: bytes) -> None:
            lines[0] += self.path.name == journal
            if lines[0] == number:
                file.write(line[: len(line) // 2])
                kill()
            write(self, file, line)

        ChunkStore._write = half  # type: ignore[method-assign]

    return patch


def before_renaming(name: str) -> Callable[[], None]:
    """Killed when a file is written under its temporary name."""

    def patch() -> None:
        replace = os.replace

        def stop(source: Any, destination: Any) -> None:
            if Path(destination).name == name:
                kill()
            replace(source, destination)

        os.replace = stop  # type: ignore[assignment]

    return patch


# In the order in which a run comes to them: what a child finds finished, it cannot be killed in.
BEFORE_GRADIENTS = {
    "configuration": before_renaming("config.yaml"),
    "provenance": before_renaming("provenance.json"),
    "inputs": before_renaming("inputs.json"),
    "first rollouts": in_a_line("rollouts.jsonl", 1),
    "rollouts": in_a_line("rollouts.jsonl", 17),
    "references": in_a_line("references.jsonl", 3),
}
GRADIENTS = {
    "first gradients": before_renaming("bin-000.npz"),
    "gradients": before_renaming("bin-003.npz"),
}
AT_THE_END = {
    "seconds": before_renaming("seconds.json"),
    "record": before_renaming("record.json"),
}
POINTS = {**BEFORE_GRADIENTS, **GRADIENTS, **AT_THE_END}
ACCURACY_POINTS = {
    **BEFORE_GRADIENTS,
    "held-out rollouts": in_a_line("accuracy_rollouts.jsonl", 3),
    **GRADIENTS,
    "a group": before_renaming("group-003.safetensors"),
    "second moment": before_renaming("second_moment.safetensors"),
    "utilities": before_renaming("bin-002.npz"),
    "weights": before_renaming("weights.jsonl"),
    **AT_THE_END,
}


def kill_at_each(
    points: dict[str, Callable[[], None]], main: Callable[[list[str]], object], argv: list[str], grader: type = HashGrader
) -> None:
    """Run main(argv) in one child a point, patched to be killed there; exits with a line where a child ends otherwise."""
    grading.Grader = grader  # type: ignore[misc]
    load_model(argv[argv.index("--student") + 1])  # imports what loading imports
    for name, patch in points.items():
        pid = os.fork()
        if pid == 0:
            patch()
            main(argv)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != -signal.SIGKILL:
            sys.exit(f"at {name!r} the child ended with status {status}")


if __name__ == "__main__":
    kill_at_each(ACCURACY_POINTS if "--against" in sys.argv else POINTS, snr_probe.main, sys.argv[1:])
