"""Weights in the form that another trainer reads.

    paced export runs/mine/pass_rates.parquet --format prime-rl -K 8 --out pools.toml                # the sampler's pools
    paced export runs/mine/pass_rates.parquet --format verl --problems problems.jsonl --out train.parquet

prime-rl: K + 1 pools of tasks by the passes of their latest group of K rollouts, weighted w(k/K): PACED by sampling, in TOML alone. verl: the
problems in the columns that its loader documents, with the weight in `paced_weight`, for the loss of paced_exp.integrations.verl. nemo-rl: the
same as messages, for the processor of paced_exp.integrations.nemo_rl. slime: messages, answer and metadata, for the hooks of
paced_exp.integrations.slime. docs/integrations has a page of each.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.data.problem_tables import Counts, same_file
from paced_exp.data.rollout_tables import counts_of_file
from paced_exp.door.weighting_parser import NAMES, taken, weighting_parser
from paced_exp.weighting import AllZero, Weighting
from paced_exp.weighting.early_stopping import check_estimate

PROG = "paced_exp.export"
FORMATS = ("prime-rl", "verl", "nemo-rl", "slime")
LARGEST_GROUP = 4096  # rollouts; each count of passes is a pool of its own
SHOWN = 16  # pools that a line lists


def main(argv: Sequence[str] | None = None) -> None:
    """Weigh, write, print what was written."""
    parser = weighting_parser(PROG, "Weights in the form that another trainer reads.")
    parser.add_argument("--format", help=f"the trainer: {', '.join(FORMATS)}")
    parser.add_argument("--out", type=Path, help="file to write: .toml for prime-rl, .parquet for verl, .jsonl for nemo-rl and slime")
    parser.add_argument("-K", type=int, help="rollouts a group in the training (prime-rl)")
    parser.add_argument(
        "--problems", help="the problems that were counted: lab:SPLIT, a .jsonl or .parquet file, hub:NAME (verl, nemo-rl, slime)"
    )
    parser.add_argument("--limit", type=int, help="as it was given to paced rollout (verl, nemo-rl, slime)")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="as it was given to paced rollout (verl, nemo-rl, slime); the sampler's seed (prime-rl) (default: 0)",
    )
    parser.add_argument("--data-source", help="verl's name of the reward function (default: lighteval/MATH)")
    given: dict[str, Any] = vars(parser.parse_args(sys.argv[1:] if argv is None else argv))
    counts: Path = given.pop("counts")
    try:
        weighting = taken(given)
        if given["format"] not in FORMATS:
            raise UserError(f"`format` {given['format']} is not known; known: {', '.join(FORMATS)}")
        if given["out"] is None:
            raise UserError("`out` must be given: the file to write")
        _check_out(given["out"], counts, given["problems"])
        if given["seed"] < 0:
            raise UserError(f"`seed` {given['seed']} must be at least 0")
        writes = _prime_rl if given["format"] == "prime-rl" else _rows
        if weighting.needs_pass_rates:
            check_estimate(weighting.estimate, counts)
        writes(weighting, counts_of_file(counts), {**given, "counts": counts})
    except AllZero as error:
        raise error.of_counts().in_flags(NAMES) from error
    except UserError as error:
        raise error.in_flags([*NAMES, "format", "out", "K", "problems", "limit", "seed", "data_source"]) from error
    print(given["out"])


def _check_out(out: Path, counts: Path, problems: str | None) -> None:
    """Raise `UserError` if `out` is a file that is read, which it would replace."""
    if same_file(out, counts):
        raise UserError(f"`out` {out} is the file of the counts; name another file")
    # A path may have a comma, which otherwise joins several sources.
    for part in [] if problems is None else [problems, *map(str.strip, problems.split(","))]:
        if not part.startswith(("lab:", "hub:")) and same_file(out, Path(part)):
            raise UserError(f"`out` {out} is a file of `problems` {problems}; name another file")


def _prime_rl(weighting: Weighting, counts: Counts, given: dict[str, Any]) -> None:
    from paced_exp.integrations.files import write_text
    from paced_exp.integrations.prime_rl import lost_pools, pool_weights, pools_toml

    _only("prime-rl", given, ("problems", "limit", "data_source"))
    if given["K"] is None:
        raise UserError("`K` must be given: the group_size of the training, of whose rollouts the pools count the passes")
    if given["out"].suffix != ".toml":
        raise UserError(f"`out` {given['out']} must end in .toml, by which its format is told")
    if given["K"] > LARGEST_GROUP:
        raise UserError(
            f"`K` {given['K']} must be at most {LARGEST_GROUP}: it is the group size of the training, and every count gets a pool"
        )
    weights = pool_weights(weighting, counts, given["K"])
    write_text(given["out"], pools_toml(weighting, counts, given["K"], given["seed"]))
    shown = sorted({round(k) for k in np.linspace(0, given["K"], min(given["K"], SHOWN) + 1)})
    some = "" if len(shown) == len(weights) else f", of {len(shown)} of them"
    print(f"{given['K'] + 1} pools, weight by passes{some}: " + ", ".join(f"{k}: {weights[k]:.3f}" for k in shown))
    lost = lost_pools(weights)
    if lost:
        named = ", ".join(map(str, lost[:SHOWN])) + (f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else "")
        print(
            f"warning: pools of weight zero (k = {named}) are never drawn from again; --estimate empirical_bayes has none", file=sys.stderr
        )


def _rows(weighting: Weighting, counts: Counts, given: dict[str, Any]) -> None:
    from paced_exp.data.prompt_hashes import check_prompts
    from paced_exp.data.sources import load_problems
    from paced_exp.integrations.exported_rows import DATA_SOURCE, effective, nemo_rl_rows, slime_rows, verl_rows, weight_of
    from paced_exp.integrations.files import write_jsonl, write_parquet

    verl = given["format"] == "verl"
    _only(given["format"], given, ("K",) if verl else ("K", "data_source"))
    if given["problems"] is None:
        raise UserError("`problems` must be given: the file that was counted")
    problems = load_problems(given["problems"], limit=given["limit"], seed=given["seed"])
    check_prompts(given["counts"], problems, str(given["counts"]))
    if verl:
        rows = verl_rows(problems, counts, weighting, given["data_source"] or DATA_SOURCE)
        write_parquet(given["out"], rows)
    else:
        rows = (slime_rows if given["format"] == "slime" else nemo_rl_rows)(problems, counts, weighting)
        write_jsonl(given["out"], rows)
    print(f"{len(rows)} rows of {len(problems)} problems, effective number {effective([weight_of(row) for row in rows]):.1f}")


def _only(name: str, given: dict[str, Any], others: tuple[str, ...]) -> None:
    for option in others:
        if given[option] is not None:
            raise UserError(f"`{option}` {given[option]} does not apply to `format` {name}; leave it out")


if __name__ == "__main__":
    exit_cleanly(main)
