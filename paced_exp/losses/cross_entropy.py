"""Cross-entropy with the response's own tokens: supervised fine-tuning, without a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paced_exp.losses.divergences import Divergence, log_probabilities

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class CrossEntropy(Divergence):
    """-log pi_S(y) of the response's token y, nats; its gradient in the student's logits is pi_S - onehot(y)."""

    name = "cross_entropy"
    label = "cross-entropy"
    needs_teacher = False
    suits_rollouts = False

    def value(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return -log_probabilities(student).gather(-1, tokens[..., None]).squeeze(-1)

    def value_and_gradient(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_s, chosen = log_probabilities(student), tokens[..., None]
        gradient = log_s.exp()
        return -log_s.gather(-1, chosen).squeeze(-1), gradient.scatter_(-1, chosen, gradient.gather(-1, chosen) - 1)
