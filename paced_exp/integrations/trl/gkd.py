"""TRL's generalised knowledge distillation (experimental there), each problem's loss times its weight."""

from typing import Any

import torch
from trl.experimental.gkd import GKDTrainer

from paced_exp.core.errors import UserError
from paced_exp.integrations.trl.supervised import Supervised


class PacedGKDTrainer(Supervised, GKDTrainer):
    """`trl.experimental.gkd.GKDTrainer` with weights: a divergence from the teacher on references (lmbda = 0), the student's responses (1) or both.

    weights, kernel, estimator: see `paced_exp.integrations.rows.weighted_rows`; all other arguments are TRL's. An update's loss is
    sum_i w_i l_i / n, l_i the mean divergence over the supervised tokens of row i.

    Raises `UserError` as `weighted_rows` does.
    """

    _weights: Any = None

    def prepare(self, args: Any) -> None:
        super().prepare(args)
        if getattr(args, "use_liger_kernel", False):
            raise UserError("`use_liger_kernel` gives one loss of a whole batch, which has no weighted form; switch it off")

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        self._weights = inputs["paced_weight"]
        return super().compute_loss(model, inputs, return_outputs=return_outputs)

    def generalized_jsd_loss(self, student_logits: Any, teacher_logits: Any, labels: Any, **options: Any) -> Any:
        options.pop("num_items_in_batch", None)  # then TRL's is the mean over the row's own tokens
        rows = [
            GKDTrainer.generalized_jsd_loss(student_logits[row : row + 1], teacher_logits[row : row + 1], labels[row : row + 1], **options)
            for row in range(len(labels))
        ]
        return self.weighted(torch.stack(rows), self._weights)
