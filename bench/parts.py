"""Runs one command of this package and writes the processor seconds of its parts. `bench.time` runs this by its path, with another commit's package too.

    python -P bench/parts.py OUT.json paced_exp.snr_probe --out runs/probe

A part is a pair: the stage of the run's own clock, or `start` before and between stages, and what runs in it: sampling, grading, training or the
rest. Nested parts are not counted twice. The grading processes' time counts as grading.
"""

import json
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

# What is timed, in any commit that is measured: module, class, method, and the part's name; None for the stages of the run's own clock.
TIMED = (
    ("paced_exp.rollouts.hf", "HFEngine", "_decode", "sampling"),
    ("paced_exp.grading.grader", "Grader", "grade", "grading"),
    ("paced_exp.training.trainer", "PacedTrainer", "train_or_resume", "training"),
)


class Parts:
    """Processor seconds by stage and part, exclusive of the parts within."""

    def __init__(self, now: Callable[[], float] = time.process_time) -> None:
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._now = now
        self._inside = [("start", "rest")]
        self._since = 0.0

    def enter(self, stage: str | None = None, part: str = "rest") -> None:
        """A part begins. Its stage is the outer one's if None."""
        self._count()
        self._inside.append((stage or self._inside[-1][0], part))

    def leave(self) -> None:
        """The part that began last ends."""
        self._count()
        self._inside.pop()

    def _count(self) -> None:
        now = self._now()
        self.seconds[self._inside[-1]] += now - self._since
        self._since = now

    def time(self, home: Any, name: str, part: str) -> None:
        """Time every call of the method `name` of class `home` as `part`."""
        plain = getattr(home, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            self.enter(part=part)
            try:
                return plain(*arguments, **named)
            finally:
                self.leave()

        setattr(home, name, timed)

    def follow(self, clock: Any) -> None:
        """Follow the stages of a run's `StageClock`."""
        enter, leave = clock.__enter__, clock.__exit__

        def entered(own: Any) -> Any:
            self.enter(stage=own._stage)
            return enter(own)

        def left(own: Any, *exception: Any) -> Any:
            self.leave()
            return leave(own, *exception)

        clock.__enter__, clock.__exit__ = entered, left

    def finished(self) -> list[dict[str, Any]]:
        """A row for each part. What other processes used, which have ended by now, is grading."""
        self._count()
        others = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.seconds["start", "grading"] += others.ru_utime + others.ru_stime
        return [{"stage": stage, "part": part, "seconds": seconds} for (stage, part), seconds in self.seconds.items() if seconds > 0]


def main() -> None:
    """Run the command."""
    out, module, *arguments = sys.argv[1:]
    parts = Parts()
    for name, home, method, part in TIMED:
        parts.time(getattr(import_module(name), home), method, part)
    parts.follow(import_module("paced_exp.core.clock").StageClock)
    sys.argv = [module, *arguments]
    import_module(module).main(arguments)
    import_module("paced_exp.core.json_files").write_atomically(Path(out), json.dumps(parts.finished()))


if __name__ == "__main__":
    main()
