"""Compute the weight of each problem from its k passes in K rollouts. Needs only numpy and scipy.

    paced weights counts.jsonl --out weights.jsonl
    paced weights runs/rollout/pass_rates.parquet --method hard_filter --estimate plugin --out weights.csv    # from what `paced rollout` wrote
    python -m paced_exp.distill --weights weights.jsonl                                # trains with them

Counts are a .jsonl, .csv or .parquet with problem_id, k and K, or with a row for each rollout, problem_id and correct. Weights are one of these with
problem_id, k, K and weight; the file's ending says which. Weights have mean one over the problems of positive weight, and a dropped problem has
weight zero. For PACED's kernel, and from 20 problems on, the summary ends with what these counts say about estimates and about more rollouts.
docs/weights.md says how to use the weights.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.data.problem_tables import same_file, write_rows
from paced_exp.data.prompt_hashes import hash_column
from paced_exp.data.rollout_tables import counts_of_file
from paced_exp.door.problem_weights import weigh_by
from paced_exp.door.weighting_parser import NAMES, taken, weighting_parser
from paced_exp.weighting import AllZero
from paced_exp.weighting.advice import FEWEST_PROBLEMS, LARGEST_K, advice
from paced_exp.weighting.early_stopping import check_estimate

PROG = "paced_exp.weights"


def main(argv: Sequence[str] | None = None) -> None:
    """Compute the weights, write them, and print their summary."""
    parser = weighting_parser(PROG, "Counts in, weights out: the weight of each problem from its k passes in K rollouts.")
    parser.add_argument("--out", type=Path, help="file of the weights, likewise; when left out, only the summary is printed")
    given: dict[str, Any] = vars(parser.parse_args(sys.argv[1:] if argv is None else argv))
    counts, out = given.pop("counts"), given.pop("out")
    if out is not None and same_file(out, counts):
        raise UserError(f"--out {out} is the file of the counts; name another file")
    try:
        weighting, found = taken(given), counts_of_file(counts)
        if weighting.needs_pass_rates:
            check_estimate(weighting.estimate, counts)
        made = weigh_by(weighting, found)
    except AllZero as error:
        raise error.of_counts().in_flags(NAMES) from error
    except UserError as error:
        raise error.in_flags(NAMES) from error
    if out is not None:
        write_rows(out, {**made.columns(), **hash_column(counts, found.problem_id)})
    print(made)
    if weighting.method == "paced":
        if len(found.k) < FEWEST_PROBLEMS:
            print(f"no advice on estimates and rollouts: it needs {FEWEST_PROBLEMS} problems, and there are {len(found.k)}")
        elif found.K.max() > LARGEST_K:
            print(f"no advice on estimates and rollouts: K is up to {found.K.max()}, and advice ends at {LARGEST_K}")
        elif (advised := advice(found.k, found.K, weighting.alpha, weighting.beta)) is not None:
            print(advised)
    if out is not None:
        print(out)


if __name__ == "__main__":
    exit_cleanly(main)
