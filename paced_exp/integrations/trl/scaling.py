"""What is common to the weighted trainers: their weights, and that their loss is of the whole update already."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from transformers import Trainer

from paced_exp.core.errors import UserError
from paced_exp.integrations.row_weight import is_weight
from paced_exp.integrations.rows import ID, WEIGHT, Given, weighted_rows
from paced_exp.weighting import Beta, Estimator, Kernel

# Newer releases of transformers ask a trainer whether its loss is of the whole update; older ones divide it by the accumulation steps.
_ASKS = hasattr(Trainer, "loss_is_scaled_for_ga")


class WeightedTrainer:
    """A mixin before a TRL trainer; the weights are those of `weighted_rows`.

    counted_again: problem_id -> weight, where `CountAgain` has replaced those of the column.
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
        """The weight of a row that is trained on: of the last count, else the row's own. Evaluation asks for none, since all are one there.

        Called when the loss is computed, not when a batch is read: loaders read ahead, in other processes too. Raises `UserError` for a row
        without a weight, or with one that is negative, not finite or no number (of a stream, which `weighted_rows` could not check), and for a
        row without a problem_id where weights were counted again.
        """
        name, own = row.get(ID), row.get(WEIGHT)
        if self.counted_again and name is None:
            raise UserError(
                f"a row of `train_dataset` has `{ID}` None; weights that are counted again are joined by it, so give every row one"
            )
        if (counted := self.counted_again.get(str(name))) is not None:
            return counted
        if not is_weight(own):
            of = "" if name is None else f" of {ID} {name!r:.80}"
            raise UserError(
                f"`{WEIGHT}` {own!r:.80} of a row of `train_dataset`{of} must be a finite number of at least 0; mend the column in every row"
            )
        return float(own)  # type: ignore[arg-type]

    def of_update(self, summed: Any, problems: Any) -> Any:
        """The loss that training_step is to get of a micro-batch's sum of w_i l_i, in an update of `problems` problems over all processes."""
        # The processes' gradients are averaged, which divides by their number once more.
        steps = 1 if _ASKS else self.current_gradient_accumulation_steps
        return summed / problems * self.accelerator.num_processes * steps
