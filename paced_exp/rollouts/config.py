"""The options of rollouts for pass rates."""

from dataclasses import dataclass
from typing import Literal

from paced_exp.core.errors import UserError
from paced_exp.core.options import RunOptions
from paced_exp.data.options import LimitedProblemOptions
from paced_exp.rollouts.options import BatchedEngineOptions, StudentOptions
from paced_exp.rollouts.shards import Shard
from paced_exp.rollouts.stopping import LARGEST_K, parse_law

KIND = "rollout"


@dataclass(frozen=True, kw_only=True)
class RolloutConfig(StudentOptions, LimitedProblemOptions, BatchedEngineOptions, RunOptions):
    """What to roll out and how.

    Attributes:
        seed: seed of the rollouts and of the choice of problems
        adaptive: stop early where a weight is certain: mean (weights as exact on average as K rollouts for all), largest (none less exact than the least certain of K for all), or off
        law: with adaptive, A,B of the Beta law of pass rates; when left out it is fitted to the first rollouts of all problems
        shard: PART/PARTS, such as 2/4: only this part of the problems, each part into a folder of its own; paced merge joins them
    """

    out: str = "runs/rollout"
    adaptive: Literal["off", "mean", "largest"] = "off"
    law: str | None = None
    shard: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.law is not None:
            parse_law(self.law)
            if self.adaptive == "off":
                raise UserError(f"`law` {self.law} only applies to `adaptive` mean and largest; leave it out, or take one of these")
        if self.adaptive != "off" and not 2 <= self.K <= LARGEST_K:
            raise UserError(f"`adaptive` {self.adaptive} needs `K` from 2 to {LARGEST_K}, not {self.K}")
        if self.shard is not None:
            Shard.parse(self.shard)
            if self.adaptive != "off" and self.law is None:
                raise UserError(
                    f"`shard` {self.shard} with `adaptive` {self.adaptive} needs `law`: fitted to its own problems, every part would stop by another "
                    "rule; give the law of a run in one part, or of an earlier one (its record.json has it)"
                )
