"""TRL's distillation steps on the rows that ours are measured on: forward KL (beta = 0), live teacher, loss and gradient.

The trainers' own functions are called on batches laid out as their collators do; `pyproject.toml` pins the release they come from.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from paced_exp.losses.alignment import Row

Step = Callable[[list[Row]], torch.Tensor]


def gkd_step(student: Any, teacher: Any, pad_id: int) -> Step:
    """`GKDTrainer.compute_loss` on right-padded sequences with an attention mask, and the backward pass; returns the loss."""
    from trl.experimental.gkd import GKDTrainer

    trainer = SimpleNamespace(use_liger_loss=False, teacher_model=teacher, beta=0.0, generalized_jsd_loss=GKDTrainer.generalized_jsd_loss)

    def run(rows: list[Row]) -> torch.Tensor:
        texts = [row.student_prompt + row.response for row in rows]
        ids, mask = _padded(texts, pad_id)
        starts = torch.tensor([len(row.student_prompt) for row in rows])[:, None]
        labels = torch.where(mask & (torch.arange(ids.shape[1]) >= starts), ids, -100)
        loss = GKDTrainer.compute_loss(trainer, student, {"input_ids": ids, "attention_mask": mask.long(), "labels": labels})
        loss.backward()
        return loss.detach()

    return run


def distillation_step(student: Any, teacher: Any, pad_id: int) -> Step:
    """`DistillationTrainer`'s loss: hidden states of both backbones, then its chunked divergence; prompts padded on the left."""
    from trl.trainer.distillation_trainer import DistillationTrainer, _chunked_divergence_loss

    trainer = SimpleNamespace(model_kwarg_keys={"logits_to_keep"}, _is_vlm=False)

    def run(rows: list[Row]) -> torch.Tensor:
        prompts, prompt_mask = _padded([row.student_prompt for row in rows], pad_id, left=True)
        completions, completion_mask = _padded([row.response for row in rows], pad_id)
        ids, mask = torch.cat([prompts, completions], dim=1), torch.cat([prompt_mask, completion_mask], dim=1).long()
        width = completions.shape[1]
        hidden = DistillationTrainer._get_last_hidden_state(trainer, student, ids, mask, width)
        with torch.no_grad():
            teachers = DistillationTrainer._get_last_hidden_state(trainer, teacher, ids, mask, width)
        heads = student.get_output_embeddings().weight, teacher.get_output_embeddings().weight
        loss, _, _ = _chunked_divergence_loss(hidden, teachers, *heads, completion_mask.long(), 0.0)
        loss.backward()
        return loss.detach()

    return run


def _padded(texts: list[list[int]], pad_id: int, *, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(text) for text in texts)
    filled = [[pad_id] * (width - len(text)) for text in texts]
    ids = [(fill + text) if left else (text + fill) for text, fill in zip(texts, filled, strict=True)]
    places, lengths = torch.arange(width), torch.tensor([len(text) for text in texts])[:, None]
    return torch.tensor(ids), places >= width - lengths if left else places < lengths
