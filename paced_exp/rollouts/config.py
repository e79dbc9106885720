"""The options of rollouts for pass rates."""

from dataclasses import dataclass

from paced_exp.core.options import RunOptions
from paced_exp.data.options import LimitedProblemOptions
from paced_exp.rollouts.options import BatchedEngineOptions, StudentOptions

KIND = "rollout"


@dataclass(frozen=True, kw_only=True)
class RolloutConfig(StudentOptions, LimitedProblemOptions, BatchedEngineOptions, RunOptions):
    """What to roll out and how.

    Attributes:
        seed: seed of the rollouts and of the choice of problems
    """

    out: str = "runs/rollout"
