"""Make references in children that kill themselves with SIGKILL, one at each point: `python -m tests.support.kill_references ARGUMENTS...`."""

import sys
from pathlib import Path

import torch

from paced_exp import references
from paced_exp.training import teacher_cache
from tests.support.kill_probe import before_renaming, in_a_line, kill, kill_at_each


def before_the_statistics() -> None:
    """Killed when all references are stored and none of the teacher's statistics."""

    def stop(path: Path) -> None:
        kill()

    teacher_cache.atomic_file = stop  # type: ignore[assignment]


POINTS = {
    "header": before_renaming("references.json"),
    "references": in_a_line("references-000000.jsonl", 1),
    "statistics": before_the_statistics,
    "table": before_renaming("references.parquet"),
    "record": before_renaming("record.json"),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    kill_at_each(POINTS, references.main, sys.argv[1:])
