"""Weights in the form that another trainer reads.

    paced export runs/mine/pass_rates.parquet --format prime-rl -K 8 --out pools.toml                # the sampler's pools
    paced export runs/mine/pass_rates.parquet --format verl --problems problems.jsonl --out train.parquet

prime-rl: K + 1 pools of tasks by the passes of their latest group of K rollouts, weighted w(k/K): PACED by sampling, in TOML alone. verl: the
problems in the columns that its loader documents, with the weight in `paced_weight`, for the loss of paced_exp.integrations.verl. nemo-rl: the
same as messages, for the processor of paced_exp.integrations.nemo_rl. docs/integrations has a page of each.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.data.problem_tables import Counts
from paced_exp.data.rollout_tables import counts_of_file
from paced_exp.door.weighting_parser import NAMES, taken, weighting_parser
from paced_exp.weighting import Weighting
from paced_exp.weighting.early_stopping import check_estimate

PROG = "paced_exp.export"
FORMATS = ("prime-rl", "verl", "nemo-rl")


def main(argv: Sequence[str] | None = None) -> None:
    """Weigh, write, print what was written."""
    parser = weighting_parser(PROG, "Weights in the form that another trainer reads.")
    parser.add_argument("--format", help=f"the trainer: {', '.join(FORMATS)}")
    parser.add_argument("--out", type=Path, help="file to write: .toml for prime-rl, .parquet for verl, .jsonl for nemo-rl")
    parser.add_argument("-K", type=int, help="rollouts a group in the training (prime-rl)")
    parser.add_argument("--problems", help="the problems that were counted: lab:SPLIT, a .jsonl or .parquet file, hub:NAME (verl, nemo-rl)")
    parser.add_argument("--limit", type=int, help="as it was given to paced rollout (verl, nemo-rl)")
    parser.add_argument(
        "--seed", type=int, default=0, help="as it was given to paced rollout (verl, nemo-rl); the sampler's seed (prime-rl) (default: 0)"
    )
    parser.add_argument("--data-source", help="verl's name of the reward function (default: lighteval/MATH)")
    given: dict[str, Any] = vars(parser.parse_args(sys.argv[1:] if argv is None else argv))
    counts = given.pop("counts")
    try:
        weighting = taken(given)
        if given["format"] not in FORMATS:
            raise UserError(f"`format` {given['format']} is not known; known: {', '.join(FORMATS)}")
        if given["out"] is None:
            raise UserError("`out` must be given: the file to write")
        writes = _prime_rl if given["format"] == "prime-rl" else _rows
        if weighting.needs_pass_rates:
            check_estimate(weighting.estimate, counts)
        writes(weighting, counts_of_file(counts), given)
    except UserError as error:
        raise error.in_flags([*NAMES, "format", "out", "K", "problems", "limit", "seed", "data_source"]) from error
    print(given["out"])


def _prime_rl(weighting: Weighting, counts: Counts, given: dict[str, Any]) -> None:
    from paced_exp.integrations.files import write_text
    from paced_exp.integrations.prime_rl import lost_pools, pool_weights, pools_toml

    _only("prime-rl", given, ("problems", "limit", "data_source"))
    if given["K"] is None:
        raise UserError("`K` must be given: the group_size of the training, of whose rollouts the pools count the passes")
    if given["out"].suffix != ".toml":
        raise UserError(f"`out` {given['out']} must end in .toml, by which its format is told")
    weights = pool_weights(weighting, counts, given["K"])
    write_text(given["out"], pools_toml(weighting, counts, given["K"], given["seed"]))
    print(f"{given['K'] + 1} pools, weight by passes: " + ", ".join(f"{k}: {weight:.3f}" for k, weight in enumerate(weights)))
    lost = lost_pools(weights)
    if lost:
        named = ", ".join(map(str, lost))
        print(
            f"warning: pools of weight zero (k = {named}) are never drawn from again; --estimate empirical_bayes has none", file=sys.stderr
        )


def _rows(weighting: Weighting, counts: Counts, given: dict[str, Any]) -> None:
    from paced_exp.data.sources import load_problems
    from paced_exp.integrations.exported_rows import DATA_SOURCE, effective, nemo_rl_rows, verl_rows
    from paced_exp.integrations.files import write_jsonl, write_parquet

    verl = given["format"] == "verl"
    _only(given["format"], given, ("K",) if verl else ("K", "data_source"))
    if given["problems"] is None:
        raise UserError("`problems` must be given: the file that was counted")
    problems = load_problems(given["problems"], limit=given["limit"], seed=given["seed"])
    if verl:
        rows = verl_rows(problems, counts, weighting, given["data_source"] or DATA_SOURCE)
        write_parquet(given["out"], rows)
    else:
        rows = nemo_rl_rows(problems, counts, weighting)
        write_jsonl(given["out"], rows)
    print(f"{len(rows)} rows of {len(problems)} problems, effective number {effective(rows):.1f}")


def _only(name: str, given: dict[str, Any], others: tuple[str, ...]) -> None:
    for option in others:
        if given[option] is not None:
            raise UserError(f"`{option}` {given[option]} does not apply to `format` {name}; leave it out")


if __name__ == "__main__":
    exit_cleanly(main)
