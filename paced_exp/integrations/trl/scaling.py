"""What is common to the weighted trainers: their weights, and that their loss is of the whole update already."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from transformers import Trainer

from paced_exp.core.errors import UserError
from paced_exp.integrations.rows import ID, WEIGHT, Given, weighted_rows
from paced_exp.weighting import Beta, Estimator, Kernel

# Newer releases of transformers ask a trainer whether its loss is of the whole update; older ones divide it by the accumulation steps.
_ASKS = hasattr(Trainer, "loss_is_scaled_for_ga")


class WeightedTrainer:
    """A mixin before a TRL trainer; the weights are those of `weighted_rows`.

    counted_again: problem_id -> weight of mean one over all rows, where `CountAgain` has replaced those of the column.
    """

    loss_is_scaled_for_ga = True if _ASKS else None
    counted_again: Mapping[str, float]
    model: Any  # of transformers' Trainer, as the following
    accelerator: Any
    train_dataset: Any
    data_collator: Any
    current_gradient_accumulation_steps: int

    def __init__(
        self,
        *args: Any,
        weights: Given | None = None,
        kernel: str | Kernel | Callable[[float], float] = Beta(1, 1),  # noqa: B008 (a frozen value)
        estimator: str | Estimator = "plugin",
        **kwargs: Any,
    ) -> None:
        given = inspect.signature(super().__init__).bind_partial(*args, **kwargs).arguments
        if given.get("args") is None:
            raise UserError(f"{type(self).__name__} needs `args`, the configuration of the trainer that it extends")
        if given.get("train_dataset") is None:
            raise UserError(
                f"{type(self).__name__} needs a `train_dataset` with `weight`, with `k` and `K`, or with `problem_id` and `weights`"
            )
        self.prepare(given["args"])
        given["train_dataset"] = weighted_rows(given["train_dataset"], weights, kernel, estimator)
        self.counted_again = {}
        super().__init__(**given)
        if not _ASKS:
            self.model_accepts_loss_kwargs = False

    def prepare(self, args: Any) -> None:
        """Set what keeps the weight beside its row; raise `UserError` for options under which a row is no longer a problem."""
        args.remove_unused_columns = False
        if getattr(args, "packing", False) or getattr(args, "padding_free", False):
            raise UserError("`packing` and `padding_free` put several problems into one row, which then has no weight; leave them out")
        if args.n_gpu > 1:
            raise UserError(
                f"one process drives {args.n_gpu} GPUs; start a process a GPU (accelerate launch), which the loss is counted by"
            )

    def weight_of(self, row: Mapping[str, Any]) -> float:
        """The weight of a row of training data; one where it has none, as in evaluation."""
        return float(self.counted_again.get(str(row.get(ID)), row.get(WEIGHT, 1.0)))

    def of_update(self, summed: Any, problems: Any) -> Any:
        """The loss that training_step is to get of a micro-batch's sum of w_i l_i, in an update of `problems` problems over all processes."""
        # The processes' gradients are averaged, which divides by their number once more.
        steps = 1 if _ASKS else self.current_gradient_accumulation_steps
        return summed / problems * self.accelerator.num_processes * steps
