"""TRL's on-policy distillation, each problem's loss times its weight."""

from typing import Any

import torch
from trl import DistillationTrainer

from paced_exp.integrations.trl.scaling import WeightedTrainer

# TRL's fields of images, which it splits to the micro-batch; the model reads those of all rows at once.
_MULTIMODAL = (
    "pixel_values",
    "image_grid_thw",
    "pixel_attention_mask",
    "spatial_shapes",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)


class PacedDistillationTrainer(WeightedTrainer, DistillationTrainer):
    """`trl.DistillationTrainer` with weights.

    weights, kernel, estimator: see `paced_exp.integrations.rows.weighted_rows`; all other arguments are TRL's. Rows of weight zero are left
    out: the student generates nothing for them. An update's loss is sum_i w_i l_i / n, l_i the mean divergence over the tokens of response i.
    Evaluation takes every weight as one.

    Raises `UserError` as `weighted_rows` does.
    """

    _rows: "_Rows | None" = None

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = super()._generate_and_score_completions(inputs)
        training = self.model.training
        device = self.accelerator.device
        # What TRL finds here it shuffles and splits along with the responses; a number without a dimension it leaves as it is.
        made["paced_weight"] = torch.tensor([self.weight_of(row) if training else 1.0 for row in inputs], device=device)
        made["paced_problems"] = self.accelerator.gather(torch.tensor([len(inputs)], device=device)).sum()
        return made

    def _compute_loss(self, unwrapped_student: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
        weights = inputs["paced_weight"]
        self._rows = _Rows(inputs)
        summed, entropies, tokens = 0.0, 0.0, 0
        try:
            for row, weight in enumerate(weights):
                # Without a count TRL takes the mean over this row's own tokens. The models have read all rows at once (below).
                loss, entropy, valid = super()._compute_loss(unwrapped_student, self._rows.at(row), None)
                summed, entropies, tokens = summed + weight * loss, entropies + entropy, tokens + valid
        finally:
            self._rows = None
        if not self.model.training:
            return summed / len(weights), entropies, tokens
        return self.of_update(summed, inputs["paced_problems"]), entropies, tokens

    def _get_last_hidden_state(self, unwrapped_model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, **images: Any) -> Any:
        rows = self._rows
        if rows is None:
            return super()._get_last_hidden_state(unwrapped_model, input_ids, attention_mask, logits_to_keep, **images)
        key = id(unwrapped_model), torch.is_grad_enabled()  # a teacher may be the student itself
        if key not in rows.hidden:
            rows.hidden[key] = super()._get_last_hidden_state(unwrapped_model, *rows.whole(), **rows.images)
        return rows.hidden[key][rows.row : rows.row + 1]


class _Rows:
    """A micro-batch that the models read whole and the loss a row at a time."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        self.inputs, self.row, self.hidden = inputs, 0, dict[tuple[int, bool], Any]()
        self.images = {name: inputs[name] for name in _MULTIMODAL if name in inputs}

    def at(self, row: int) -> dict[str, Any]:
        """The inputs of this row alone, without images, which belong to no row by their place."""
        self.row = row
        names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "tool_mask")
        return {name: self.inputs[name][row : row + 1] for name in names if name in self.inputs}

    def whole(self) -> tuple[Any, Any, int]:
        ids, mask = (torch.cat([self.inputs[f"prompt_{name}"], self.inputs[f"completion_{name}"]], dim=1) for name in ("ids", "mask"))
        return ids, mask, self.inputs["completion_ids"].size(1)
