"""Teachers: a model apart, the student itself (live), or an exponential moving average of it; and what they say about a batch.

What a teacher says is `Dense` logits, or `Buckets`: its likeliest tokens and everything else as one outcome (from the teacher cache).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file

from paced_exp.core.errors import UserError
from paced_exp.losses.divergences import Divergence
from paced_exp.training.batches import Batch, Row, supervised_logits


@dataclass(frozen=True)
class Dense:
    """Teacher logits (N, V), before temperature."""

    logits: torch.Tensor


@dataclass(frozen=True)
class Buckets:
    """The teacher's k likeliest tokens, `tokens` (N, k), and log-probabilities (N, k+1), the last of all other tokens together.

    temperature is in the log-probabilities already.
    """

    tokens: torch.Tensor
    log_probabilities: torch.Tensor
    temperature: float


Targets = Dense | Buckets


class Teacher(Protocol):
    """What the trainer asks of a teacher."""

    def targets(self, batch: Batch) -> Targets:
        """What the teacher predicts at the batch's supervised tokens, without gradient."""
        ...

    def flops(self, rows: Sequence[Row]) -> float:
        """Floating-point operations that `targets` costs for these rows."""
        ...

    def after_update(self, student: Any) -> None:
        """Called with the student after each of its updates."""
        ...

    def save(self, folder: Path) -> None:
        """Write into a checkpoint's folder what a resumption needs."""
        ...

    def load(self, folder: Path) -> None:
        """Read it back."""
        ...


class Stateless:
    """A teacher that training does not change and that a checkpoint need not hold."""

    def after_update(self, student: Any) -> None:
        pass

    def save(self, folder: Path) -> None:
        pass

    def load(self, folder: Path) -> None:
        pass


class ModelTeacher(Stateless):
    """A model that does not change, or that somebody else changes: another model, a frozen copy of the student, or the student itself."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def targets(self, batch: Batch) -> Targets:
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            logits = supervised_logits(self.model, batch.teacher)
        self.model.train(training)
        return Dense(logits)

    def flops(self, rows: Sequence[Row]) -> float:
        return 2.0 * matmul_parameters(self.model) * sum(row.teacher_tokens for row in rows)


class EMATeacher(ModelTeacher):
    """theta_T <- decay theta_T + (1 - decay) theta_S after each update, starting from the student's own weights, kept in float32 or wider."""

    FILE = "teacher_ema.safetensors"

    def __init__(self, student: Any, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"`ema_decay` {decay} must be at least 0 and below 1")
        super().__init__(frozen_copy(student))
        self.decay = decay

    @torch.no_grad()
    def after_update(self, student: Any) -> None:
        for mine, theirs in zip(self.model.parameters(), student.parameters(), strict=True):
            mine.lerp_(theirs.to(mine.dtype), 1 - self.decay)

    def save(self, folder: Path) -> None:
        save_file({name: parameter.detach() for name, parameter in self.model.named_parameters()}, folder / self.FILE)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        stored = load_file(folder / self.FILE)
        for name, parameter in self.model.named_parameters():
            parameter.copy_(stored[name])


class NoTeacher(Stateless):
    """For cross-entropy, which compares with the reference's tokens and asks no teacher."""

    def targets(self, batch: Batch) -> Targets:
        return Dense(torch.zeros(len(batch.tokens), 1, device=batch.tokens.device))

    def flops(self, rows: Sequence[Row]) -> float:
        return 0.0


def frozen_copy(model: Any) -> Any:
    """A copy of `model` in eval mode whose parameters take no gradient."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def matmul_parameters(model: Any) -> int:
    """Parameters a token is multiplied with: all but an input embedding that is looked up only. A tied embedding is multiplied, as the head."""
    total: int = sum(parameter.numel() for parameter in model.parameters())
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    return total if embedding is head else total - int(embedding.numel())


def token_losses(loss: Divergence, student_logits: torch.Tensor, targets: Targets, tokens: torch.Tensor) -> torch.Tensor:
    """Per-token values (N,) of `loss` between the student's logits (N, V) and the teacher's targets.

    Heads padded to different widths are cut to the shared vocabulary. With `Buckets` both distributions are over the k tokens and the
    rest, whose divergence is at most the exact one (data processing); the student's logits are divided by the buckets' temperature here.
    """
    if isinstance(targets, Dense):
        width = targets.logits.shape[-1]
        if width == 1:  # NoTeacher
            return loss(student_logits, student_logits.detach(), tokens)
        width = min(student_logits.shape[-1], width)
        return loss(student_logits[..., :width], targets.logits[..., :width], tokens)
    return loss(bucketed(student_logits, targets.tokens, targets.temperature), targets.log_probabilities, tokens)


def bucketed(logits: torch.Tensor, tokens: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probabilities (N, k+1) of the chosen `tokens` (N, k) and of all others together under softmax(logits (N, V) / temperature)."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    log_p = torch.log_softmax(wide / temperature, dim=-1)
    rest = log_p.scatter(-1, tokens, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([log_p.gather(-1, tokens), rest], dim=-1)
