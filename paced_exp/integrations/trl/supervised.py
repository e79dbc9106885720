"""TRL's supervised fine-tuning, each problem's loss times its weight; and what it has in common with GKD."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from trl import SFTTrainer

from paced_exp.core.errors import UserError
from paced_exp.integrations.rows import ID, WEIGHT
from paced_exp.integrations.trl.scaling import WeightedTrainer

IGNORED = -100  # the label of tokens that are not trained on
ROWS = "paced_rows"  # in a batch: the weight and problem_id of each row


class _WithRows:
    """A collator that keeps what tells each row's weight beside the batch: its own weight and its problem_id.

    The weight itself is looked up when the loss is computed: batches are read ahead, and in other processes, where the trainer is a copy.
    """

    def __init__(self, collator: Any) -> None:
        self.collator = collator

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self.collator(rows), ROWS: [{name: row[name] for name in (ID, WEIGHT) if name in row} for row in rows]}


class Supervised(WeightedTrainer):
    """Counts the problems of an update, the last and smaller one of an epoch included."""

    _problems: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.data_collator = _WithRows(self.data_collator)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        samples, items = super().get_batch_samples(*args, **kwargs)  # type: ignore[misc]
        own = torch.tensor([sum(len(batch[ROWS]) for batch in samples)], device=self.accelerator.device)
        self._problems = self.accelerator.gather(own).sum()
        return samples, items

    def weighted(self, losses: torch.Tensor, rows: list[dict[str, Any]]) -> torch.Tensor:
        """The micro-batch's share of sum_i w_i l_i / n; losses (problems,), and the `ROWS` of the batch. In evaluation their mean."""
        if not self.model.training:
            return losses.mean()
        weights = torch.tensor([self.weight_of(row) for row in rows]).to(losses)
        shared: torch.Tensor = self.of_update((weights * losses).sum(), self._problems)
        return shared


class PacedSFTTrainer(Supervised, SFTTrainer):
    """`trl.SFTTrainer` with weights: cross-entropy on given responses.

    weights, kernel, estimator: see `paced_exp.integrations.rows.weighted_rows`; all other arguments are TRL's. An update's loss is
    sum_i w_i l_i / n, l_i the mean over the supervised tokens of row i.

    Raises `UserError` as `weighted_rows` does, and for `packing`, `padding_free`, another `loss_type` than nll, label smoothing and an
    auxiliary loss of experts.
    """

    def prepare(self, args: Any) -> None:
        super().prepare(args)
        if args.loss_type == "chunked_nll":  # the default before TRL 1.15, which gives a batch's loss and no token's
            args.loss_type = "nll"
        if args.loss_type != "nll" or args.label_smoothing_factor:
            raise UserError(
                f"`loss_type` {args.loss_type} and `label_smoothing_factor` {args.label_smoothing_factor} have no weighted form here; "
                "take nll and 0"
            )

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        if getattr(self, "aux_loss_enabled", False):
            raise UserError("`router_aux_loss_coef` adds a loss of experts, which has no weighted form here; switch it off")
        inputs, seen = dict(inputs), []
        rows, labels = inputs.pop(ROWS), inputs["labels"][:, 1:]
        # TRL's own loss is computed for its metrics; the tokens' are read from what the model gave it.
        handle = model.register_forward_hook(lambda module, arguments, output: seen.append(output))
        try:
            given = super().compute_loss(model, inputs, return_outputs=return_outputs)
        finally:
            handle.remove()
        losses = _token_losses(seen[0], labels).sum(1) / (labels != IGNORED).sum(1).clamp(min=1)
        loss = self.weighted(losses, rows)
        return (loss, given[1]) if return_outputs else loss


def _token_losses(output: Any, labels: torch.Tensor) -> torch.Tensor:
    """-log p of every label, (rows, tokens), zero where it is ignored."""
    if getattr(output, "log_probs", None) is not None:  # without logits, which a fused output layer does not make
        return -torch.as_tensor(output.log_probs)
    logits = output.logits[:, :-1].float()
    return cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
