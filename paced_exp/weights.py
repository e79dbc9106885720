"""Compute the weight of each problem from its k passes in K rollouts. Needs only numpy and scipy.

    paced weights counts.jsonl --out weights.jsonl
    paced weights runs/rollout/pass_rates.parquet --method hard_filter --estimate plugin --out weights.csv    # from what `paced rollout` wrote
    python -m paced_exp.distill --weights weights.jsonl                                # trains with them

Counts are a .jsonl, .csv or .parquet with problem_id, k and K. Weights are one of these with problem_id, k, K and weight; the file's ending says
which. Weights have mean one over the problems of positive weight, and a dropped problem has weight zero. docs/weights.md says how to use them.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args, get_type_hints

from paced_exp.core.errors import UserError, exit_cleanly, flag_of
from paced_exp.core.options import meanings
from paced_exp.data.problem_tables import read_counts
from paced_exp.door.problem_weights import weigh_by
from paced_exp.weighting import Weighting

PROG = "paced_exp.weights"
RECOMMENDED = "empirical_bayes"  # for trainings of your own; the default of `distill` is the paper's plugin


class _Parser(argparse.ArgumentParser):
    """Reports errors in one line, like every command of this package."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see: python -m {PROG} --help)")


def _parser() -> argparse.ArgumentParser:
    # Not jsonargparse, as in other commands, since this one must run if only numpy and scipy are installed.
    parser = _Parser(prog=PROG, description="Compute the weight of each problem from its k passes in K rollouts.")
    parser.add_argument("counts", type=Path, help="file with problem_id, k and K: .jsonl, .csv or .parquet")
    parser.add_argument(
        "--out", type=Path, help="file for the weights: .jsonl, .csv or .parquet; when left out, only the summary is printed"
    )
    help_of = meanings(Weighting)
    hints = get_type_hints(Weighting)
    for option in dataclasses.fields(Weighting):
        kind = next(one for one in (*get_args(hints[option.name]), hints[option.name]) if one is not NoneType)
        default = RECOMMENDED if option.name == "estimate" else option.default
        shown = "" if default is None else f" (default: {default})"
        parser.add_argument(flag_of(option.name), type=kind, default=default, help=help_of[option.name].replace("%", "%%") + shown)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Compute the weights, write them, and print their summary."""
    given: dict[str, Any] = vars(_parser().parse_args(sys.argv[1:] if argv is None else argv))
    counts, out = given.pop("counts"), given.pop("out")
    if out is not None and out.resolve() == counts.resolve():
        raise UserError(f"--out {out} is the file of the counts; name another file")
    if given["method"] == "uniform" and given["estimate"] == RECOMMENDED:
        del given["estimate"]  # nothing is estimated
    try:
        made = weigh_by(Weighting(**given), read_counts(counts))
    except UserError as error:
        raise error.in_flags([field.name for field in dataclasses.fields(Weighting)]) from error
    if out is not None:
        made.save(out)
    print(made)
    if out is not None:
        print(out)


if __name__ == "__main__":
    exit_cleanly(main)
