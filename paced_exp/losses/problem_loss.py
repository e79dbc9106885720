"""A problem's loss: the divergence of student and teacher at each supervised token, reduced to one number a problem.

This is the one place where aligned logits, divergence and reduction meet; the trainer, the teacher cache and the probe all call it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import torch
from torch.utils.checkpoint import checkpoint

from paced_exp.core.errors import UserError
from paced_exp.losses.alignment import Batch, supervised_logits
from paced_exp.losses.divergences import Divergence, log_probabilities, wide
from paced_exp.losses.heads import States


@dataclass(frozen=True)
class Dense:
    """Teacher logits (N, V), before temperature."""

    logits: torch.Tensor


@dataclass(frozen=True)
class Buckets:
    """The teacher's k likeliest tokens, `tokens` (N, k), and log-probabilities (N, k+1), the last of all other tokens together.

    temperature is in the log-probabilities already. width: of the vocabulary that they are over, to which a wider student is cut; None: the student's.
    """

    tokens: torch.Tensor
    log_probabilities: torch.Tensor
    temperature: float
    width: int | None = None


# What a teacher predicts at a batch's supervised tokens; None where there is no teacher.
Targets = Dense | Buckets | States | None


@dataclass(frozen=True)
class ProblemLoss:
    """Per-problem losses (B,) of a batch, in nats.

    temperature: divides the logits of both models before the softmax. No factor T^2 is put on the loss, and a divergence without a teacher
    is taken at 1, since it compares with a token. chunk: tokens whose softmaxes are held at a time, all of them when None. reduction: over
    a problem's supervised tokens. Raises `UserError` for a temperature or a chunk out of range.
    """

    divergence: Divergence
    temperature: float = 1.0
    chunk: int | None = None
    reduction: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        if not 0 < self.temperature < inf:
            raise UserError(f"`loss_temperature` {self.temperature} must be positive and finite")
        if self.chunk is not None and self.chunk < 1:
            raise UserError(f"`loss_chunk` {self.chunk} must be at least 1")

    def __call__(self, student: Any, batch: Batch, targets: Targets) -> torch.Tensor:
        """The loss (B,) of each row, from one forward pass of the student."""
        return self.reduced(self.values(student, batch, targets), batch.layout)

    def weighted(self, student: Any, batch: Batch, targets: Targets, problems: int, processes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(sum_i w_i l_i / problems * processes with its graph, the losses l (B,) without) of a batch that is part of so many problems."""
        losses = self(student, batch, targets)
        return (batch.weights.to(losses.dtype) * losses).sum() / problems * processes, losses.detach()

    def values(self, student: Any, batch: Batch, targets: Targets) -> torch.Tensor:
        """The divergence (N,) at each supervised token, from one forward pass of the student."""
        return self.per_token(supervised_logits(student, batch.student), targets, batch.tokens)

    def per_token(self, student_logits: torch.Tensor, targets: Targets, tokens: torch.Tensor) -> torch.Tensor:
        """The divergence (N,) at each token, between the student's logits (N, V) and the teacher's targets.

        Heads padded to different widths are cut to the shared vocabulary. With `Buckets` both distributions are over the k tokens and the
        rest, whose divergence is at most the exact one (data processing).
        """
        if not self.divergence.needs_teacher:
            return self._in_chunks(lambda student, token: self.divergence.value(student, student.detach(), token), student_logits, tokens)
        if isinstance(targets, Buckets):
            assert targets.temperature == self.temperature, "the teacher's statistics were taken at another temperature"
            return self._in_chunks(
                self._between_buckets, student_logits[..., : targets.width], targets.tokens, targets.log_probabilities, tokens
            )
        assert targets is not None, f"{self.divergence.name} needs a teacher"
        if isinstance(targets, States):
            targets = Dense(targets.logits())
        width = min(student_logits.shape[-1], targets.logits.shape[-1])
        return self._in_chunks(self._between_logits, student_logits[..., :width], targets.logits[..., :width], tokens)

    def reduced(self, values: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
        """Mean or sum (B,) of values (N,) that lie in rows as `layout` (B, R) says."""
        rows = torch.zeros(layout.shape, dtype=values.dtype, device=values.device).masked_scatter(layout, values)
        return rows.sum(-1) / layout.sum(-1) if self.reduction == "mean" else rows.sum(-1)

    def _between_logits(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        if self.temperature != 1:
            student, teacher = wide(student) / self.temperature, wide(teacher) / self.temperature
        return self.divergence.value(student, teacher, tokens)

    def _between_buckets(
        self, student: torch.Tensor, chosen: torch.Tensor, log_probabilities: torch.Tensor, tokens: torch.Tensor
    ) -> torch.Tensor:
        return self.divergence.value(bucketed(student, chosen, self.temperature), log_probabilities, tokens)

    def _in_chunks(self, values: Callable[..., torch.Tensor], *per_token: torch.Tensor) -> torch.Tensor:
        """`values` of tensors with one entry a token, over `chunk` tokens at a time, each chunk recomputed in the backward pass.

        Softmaxes and products, several times the logits' size in float32, are then held for one chunk only. Same values and gradients.
        """
        if self.chunk is None:
            return values(*per_token)
        parts = zip(*(tensor.split(self.chunk) for tensor in per_token), strict=True)
        return torch.cat([checkpoint(values, *part, use_reentrant=False, preserve_rng_state=False) for part in parts])


def bucketed(logits: torch.Tensor, tokens: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probabilities (N, k+1) of the chosen `tokens` (N, k) and of all others together under softmax(logits (N, V) / temperature)."""
    log_p = log_probabilities(wide(logits) / temperature)
    rest = log_p.scatter(-1, tokens, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([log_p.gather(-1, tokens), rest], dim=-1)
