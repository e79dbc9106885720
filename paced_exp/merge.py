"""Join the shards of a run of rollouts.

    python -m paced_exp.rollout --student MODEL --problems problems.jsonl --shard 1/4 --out runs/part-1      # on four machines,
    python -m paced_exp.rollout --student MODEL --problems problems.jsonl --shard 2/4 --out runs/part-2      # or in four processes
    ...
    python -m paced_exp.merge runs/part-1 runs/part-2 runs/part-3 runs/part-4 --out runs/rollout

Writes the files of the run in one part. Refuses shards that are missing, not finished, or of another configuration, student or problems.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from paced_exp.core.errors import UserError, exit_cleanly

PROG = "paced_exp.merge"


class _Parser(argparse.ArgumentParser):
    """Refuses in the one line that every command of this package refuses in."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see: python -m {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> None:
    """Join and print the summary."""
    parser = _Parser(prog=PROG, description="The shards of a run of rollouts, joined.")
    parser.add_argument("shards", type=Path, nargs="+", help="the folders of all shards, in any order")
    parser.add_argument("--out", type=Path, required=True, help="folder of the joined run")
    given = parser.parse_args(sys.argv[1:] if argv is None else argv)
    from paced_exp.rollouts.merge import merge
    from paced_exp.rollouts.summary import table

    try:
        _, record = merge(given.shards, given.out)
    except UserError as error:
        raise error.in_flags(["out"]) from error
    print(table(record))
    for name in ("rollouts.parquet", "pass_rates.parquet"):
        print(given.out / name)


if __name__ == "__main__":
    exit_cleanly(main)
