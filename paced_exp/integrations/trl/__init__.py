"""Trainers of TRL whose problems have weights. docs/integrations/trl.md has the lines to copy.

`PacedDistillationTrainer` (on-policy, any divergence), `PacedGKDTrainer` (references or both), `PacedSFTTrainer` (references, cross-entropy), and
`CountAgain`, a callback that counts pass rates again every so many steps.

An update's loss is sum_i w_i l_i / n: l_i the mean over problem i's supervised tokens, n the problems of the whole update over all processes
and accumulation steps. TRL's own is a mean over the update's tokens, which weighs a problem by its length too.
"""

from typing import TYPE_CHECKING, Any

from paced_exp.integrations.peers import require

require("trl")

from paced_exp.integrations.trl.distillation import PacedDistillationTrainer  # noqa: E402
from paced_exp.integrations.trl.recount import CountAgain  # noqa: E402
from paced_exp.integrations.trl.supervised import PacedSFTTrainer  # noqa: E402

if TYPE_CHECKING:
    from paced_exp.integrations.trl.gkd import PacedGKDTrainer

__all__ = ["CountAgain", "PacedDistillationTrainer", "PacedGKDTrainer", "PacedSFTTrainer"]


def __getattr__(name: str) -> Any:
    if name != "PacedGKDTrainer":  # on first use only: TRL warns wherever one of its experimental trainers is imported
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from paced_exp.integrations.trl.gkd import PacedGKDTrainer

    return PacedGKDTrainer
