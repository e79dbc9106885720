"""A problem's loss from hidden states, for a student with a plain linear head: what trains by default."""

from dataclasses import dataclass
from typing import Any

import torch

from paced_exp.losses.alignment import Batch
from paced_exp.losses.chunked import HeadGradients
from paced_exp.losses.fused import fused_divergence, fused_losses
from paced_exp.losses.heads import PlainHead
from paced_exp.losses.problem_loss import ProblemLoss, Targets


@dataclass(frozen=True)
class FusedLoss:
    """The numbers of `of`, without logits of a whole batch (`fused`). head: the student's. `of.chunk`: tokens whose logits are held at a time."""

    of: ProblemLoss
    head: PlainHead

    def __call__(self, student: Any, batch: Batch, targets: Targets, gradients: HeadGradients | None = None) -> torch.Tensor:
        """The loss (B,) of each row, from one forward pass of the student.

        The graph is for the plain sum of the losses; the head's gradient of each row goes to `gradients` (`PerProblemGradients.head`).
        """
        states = self.head.states(student, batch.student)
        return fused_losses(states, self.head.head(), targets, batch.tokens, batch.layout, self.of, gradients)

    def weighted(self, student: Any, batch: Batch, targets: Targets, problems: int, processes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(sum_i w_i l_i / problems * processes with its graph, the losses l (B,) without) of a batch that is part of so many problems."""
        counts = batch.layout.sum(-1) if self.of.reduction == "mean" else torch.ones_like(batch.weights)
        # All factors go into the weights, so that the backward pass hands the gradients on as they are.
        weights = (batch.weights / counts / problems * processes)[:, None].expand_as(batch.layout)[batch.layout]
        states = self.head.states(student, batch.student)
        total, values = fused_divergence(states, self.head.head(), targets, batch.tokens, weights, self.of)
        return total, self.of.reduced(values, batch.layout)

    @torch.no_grad()
    def values(self, student: Any, batch: Batch, targets: Targets) -> torch.Tensor:
        """The divergence (N,) at each supervised token, from one forward pass of the student, without a graph."""
        states = self.head.states(student, batch.student)
        return fused_divergence(states, self.head.head(), targets, batch.tokens, states.new_zeros(len(states)), self.of)[1]
