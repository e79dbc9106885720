"""Seconds that each stage of a run took."""

import time
from pathlib import Path

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_object, write_json


class StageClock:
    """Seconds of each stage, kept in a file so that a resumed run adds to them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = read_object(path) if path.exists() else {}
        for stage, seconds in self.seconds.items():
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
                raise UserError(f"{path} has {seconds!r:.40} for the seconds of {stage!r:.40}; delete it, it only keeps the time")
        self._stage = ""
        self._start = 0.0

    def __call__(self, stage: str) -> "StageClock":
        self._stage = stage
        return self

    def __enter__(self) -> "StageClock":
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.add(self._stage, time.perf_counter() - self._start)

    def add(self, stage: str, seconds: float) -> None:
        """Add to a stage's seconds."""
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + seconds, 3)
        write_json(self._path, self.seconds)
