"""The options of the accuracy-aligned probe."""

from dataclasses import dataclass, fields
from typing import Literal

from paced_exp.core.errors import UserError
from paced_exp.core.options import Options


@dataclass(frozen=True, kw_only=True)
class AccuracyOptions(Options):
    """The accuracy on other problems.

    Attributes:
        against: loss (only the SNR of gradients) or accuracy (also the effect of a step on a problem on the expected accuracy on others)
        accuracy_problems: sources of these other problems, joined by commas; none of them may be probed
        accuracy_limit: number of problems from each such source
        accuracy_samples: number of graded rollouts of each such problem, at least 2
    """

    against: Literal["loss", "accuracy"] = "loss"
    accuracy_problems: str = "lab:mid,lab:hard-a,lab:hard-b"
    accuracy_limit: int = 400
    accuracy_samples: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "accuracy_limit")
        self.at_least(2, "accuracy_samples", why=": a rollout is compared with the others of its problem")
        for option in fields(AccuracyOptions):
            value = getattr(self, option.name)
            if self.against == "loss" and value != option.default:
                raise UserError(f"`{option.name}` {value} only applies to `against` accuracy; leave it out, or give that")
