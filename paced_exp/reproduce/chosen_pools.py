"""Pools most of whose problems are never, or always, solved by the untrained student: chosen by counted pass rates, since levels reach no 80 %.

Many problems are drawn and rolled out, and those with k = 0 (or k = K) fill `share` of a pool; the rest are a random part of all others. These
rollouts are used for nothing else: a run that trains on the pool counts its own, so that its weights do not know why a problem was chosen.
What is chosen for k = 0 of K is solved more often than never, since some of it was bad luck.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import write_checked
from paced_exp.data.problem import Problem
from paced_exp.data.sources import load_problems, save_problems
from paced_exp.reproduce.scale import Side
from paced_exp.rollouts.config import RolloutConfig

KIND = "chosen pools"
SIDES: tuple[Side, ...] = ("beyond", "mastered")


@dataclass(frozen=True, kw_only=True)
class PoolsConfig(RolloutConfig):
    """What is rolled out, and what is chosen of it.

    Attributes:
        size: problems in a pool
        share: of a pool that is never, or always, solved
    """

    size: int = 1000
    share: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "size")
        if not 0 < self.share < 1:
            raise UserError(f"`share` {self.share} must be above 0 and below 1")


def pool_path(folder: Path, side: Side) -> Path:
    """The file of a pool's problems."""
    return folder / f"{side}.parquet"


def chosen(k: np.ndarray, rollouts: int, side: Side, *, size: int, share: float, seed: int) -> np.ndarray:
    """Indices of a pool's problems, in random order: round(share size) at the side's end, the others from all that are not.

    k (n,): passes of `rollouts` each. Raises `UserError` where too few problems are at the end, or elsewhere.
    """
    at_end = k == (0 if side == "beyond" else rollouts)
    wanted = round(share * size)
    rng = np.random.default_rng([seed, SIDES.index(side)])
    parts = []
    for indices, count, where in ((np.flatnonzero(at_end), wanted, "at"), (np.flatnonzero(~at_end), size - wanted, "away from")):
        if len(indices) < count:
            end = "k = 0" if side == "beyond" else f"k = {rollouts}"
            raise UserError(
                f"the pool {side} needs {count} problems {where} {end}, and {len(indices)} of {len(k)} drawn ones are; draw more, or choose a "
                "smaller pool"
            )
        parts.append(rng.permutation(indices)[:count])
    return np.asarray(rng.permutation(np.concatenate(parts)))


def choose_pools(config: PoolsConfig) -> None:
    """Roll out, choose, and write a file a pool into `config.out`, its record last. A stopped run goes on where it was."""
    from paced_exp.rollouts.run import roll_out  # torch takes seconds to load

    out = Path(config.out)
    options = {name: getattr(config, name) for name in RolloutConfig.__dataclass_fields__}
    rates, _ = roll_out(replace(RolloutConfig(**options), out=str(out / "rollouts")))
    by_id = {problem.id: problem for problem in load_problems(str(out / "rollouts" / "problems.parquet"))}
    problems: Sequence[Problem] = [by_id[name] for name in rates["problem_id"]]
    k = rates["k"].to_numpy()
    for side in SIDES:
        indices = chosen(k, config.K, side, size=config.size, share=config.share, seed=config.seed)
        save_problems([problems[index] for index in indices], pool_path(out, side))
    drawn = np.bincount(k, minlength=config.K + 1).tolist()
    write_checked(out / "record.json", {"kind": KIND, "drawn": drawn, "size": config.size, "share": config.share})
