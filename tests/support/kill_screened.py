"""Run a screened probe in children that kill themselves with SIGKILL, one at each point of `POINTS`: `python -m tests.support.kill_screened ARGUMENTS...`."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from paced_exp import snr_probe
from paced_exp.grading import grader as grading
from paced_exp.probe.rolling import Roller
from tests.support.graders import EndsGrader
from tests.support.kill_probe import before_renaming, in_a_line, kill, kill_at_each


def set_up(patch: pytest.MonkeyPatch) -> None:
    """A grader of pass rates near both ends, and batches so small that there are several."""
    patch.setattr(grading, "Grader", EndsGrader)
    patch.setattr("paced_exp.probe.screening.ROUND", 32)
    patch.setattr("paced_exp.probe.screening.FRESH_ROUND", 16)


def between_screen_and_fresh(number: int) -> Callable[[], None]:
    """Killed when the `number`-th batch of fresh rollouts of this run is asked for, the screen's journal being whole."""

    def patch() -> None:
        roll, batches = Roller.roll, [0]

        def stop(self: Any, problems: Any) -> None:
            batches[0] += self._name == "fresh_rollouts"
            if self._name == "fresh_rollouts" and batches[0] == number:
                kill()
            roll(self, problems)

        Roller.roll = stop  # type: ignore[method-assign]

    return patch


POINTS = {
    "screen": in_a_line("rollouts.jsonl", 9),
    "between": between_screen_and_fresh(1),
    "first fresh rollouts": in_a_line("fresh_rollouts.jsonl", 1),
    "fresh rollouts": in_a_line("fresh_rollouts.jsonl", 7),
    "second batch": between_screen_and_fresh(2),
    "fresh pass rates": before_renaming("fresh_pass_rates.parquet"),
    "gradients": before_renaming("bin-001.npz"),
}

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patched:
        set_up(patched)
        kill_at_each(POINTS, snr_probe.main, sys.argv[1:], EndsGrader)
