"""TRL's generalised knowledge distillation (experimental there), each problem's loss times its weight."""

from typing import Any

import torch
from trl.experimental.gkd import GKDTrainer

from paced_exp.core.errors import UserError
from paced_exp.integrations.trl.supervised import IGNORED, ROWS, Supervised
from paced_exp.losses.divergences import Divergence
from paced_exp.losses.divergences import divergence as named


class PacedGKDTrainer(Supervised, GKDTrainer):
    """`trl.experimental.gkd.GKDTrainer` with weights: a divergence from the teacher on references (lmbda = 0), the student's responses (1) or both.

    weights, kernel, estimator: see `paced_exp.integrations.rows.weighted_rows`. divergence: one of ours in place of TRL's `beta`, by name
    or as a `Divergence`, at temperature 1 as TRL's: akl (which has no beta), forward_kl, reverse_kl, jsd. All other arguments are TRL's.
    An update's loss is sum_i w_i l_i / n, l_i the mean divergence over the supervised tokens of row i.

    Raises `UserError` as `weighted_rows` does, and for an unknown divergence.
    """

    _rows: Any = None

    def __init__(self, *args: Any, divergence: str | Divergence | None = None, **kwargs: Any) -> None:
        self.divergence = named(divergence) if isinstance(divergence, str) else divergence
        super().__init__(*args, **kwargs)

    def prepare(self, args: Any) -> None:
        super().prepare(args)
        if getattr(args, "use_liger_kernel", False):
            raise UserError("`use_liger_kernel` gives one loss of a whole batch, which has no weighted form; switch it off")

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        self._rows = inputs[ROWS]
        return super().compute_loss(model, inputs, return_outputs=return_outputs)

    def generalized_jsd_loss(self, student_logits: Any, teacher_logits: Any, labels: Any, **options: Any) -> Any:
        options.pop("num_items_in_batch", None)  # then TRL's is the mean over the row's own tokens
        rows = [slice(row, row + 1) for row in range(len(labels))]
        if self.divergence is None:
            losses = [GKDTrainer.generalized_jsd_loss(student_logits[row], teacher_logits[row], labels[row], **options) for row in rows]
        else:
            losses = [self._divergence_of(student_logits[row], teacher_logits[row], labels[row]) for row in rows]
        return self.weighted(torch.stack(losses), self._rows)

    def _divergence_of(self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean over the supervised tokens of a row; zero where it has none."""
        assert self.divergence is not None
        kept = labels != IGNORED
        values = self.divergence.value(student_logits[kept], teacher_logits[kept], labels[kept])
        return values.sum() / kept.sum().clamp(min=1)
