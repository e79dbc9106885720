"""Forward and reverse Kullback-Leibler divergence: PACED's losses of distillation and of self-distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paced_exp.losses.divergences import Divergence, log_probabilities

if TYPE_CHECKING:
    import torch


def kl(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """sum p (log p - log q) over the last dimension, nats; p = 0 contributes exactly 0, so that logits of +-1e4 give finite values."""
    p = log_p.exp()
    # Not `p > 0`, which would take a NaN for a zero and hide it.
    return (p * (log_p - log_q)).masked_fill(p == 0, 0).sum(-1)


def kl_of(p: torch.Tensor, log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """`kl` with p = exp(log_p) at hand and without a graph. The mask, half the cost, is needed only where a logarithm is infinite."""
    values = (log_p - log_q).mul_(p).sum(-1)
    return values if bool(values.isfinite().all()) else kl(log_p, log_q)


@dataclass(frozen=True)
class ForwardKL(Divergence):
    """KL(pi_T || pi_S) = sum pi_T (log pi_T - log pi_S), nats; its gradient in the student's logits is pi_S - pi_T."""

    name = "forward_kl"
    label = "forward KL"

    def value(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return kl(log_probabilities(teacher), log_probabilities(student))

    def value_and_gradient(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_s, log_t = log_probabilities(student), log_probabilities(teacher)
        p_t = log_t.exp()
        return kl_of(p_t, log_t, log_s), log_s.exp().sub_(p_t)


@dataclass(frozen=True)
class ReverseKL(Divergence):
    """KL(pi_S || pi_T) = sum pi_S (log pi_S - log pi_T), nats; its gradient is pi_S (log pi_S - log pi_T - KL). It has the student's samples."""

    name = "reverse_kl"
    label = "reverse KL"
    default_source = "rollouts"

    def value(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return kl(log_probabilities(student), log_probabilities(teacher))

    def value_and_gradient(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_s, log_t = log_probabilities(student), log_probabilities(teacher)
        p_s = log_s.exp()
        value = kl_of(p_s, log_s, log_t)
        return value, (log_s - log_t).sub_(value[..., None]).mul_(p_s)
