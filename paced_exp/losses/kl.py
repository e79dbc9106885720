"""Forward and reverse Kullback-Leibler divergence: PACED's losses of distillation and of self-distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paced_exp.losses.divergences import Divergence, log_probabilities

if TYPE_CHECKING:
    import torch


def kl(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """sum p (log p - log q) over the last dimension, nats; p = 0 contributes exactly 0, to the gradient too, so that logits of +-1e4 or -inf give
    finite values."""
    p = log_p.exp()
    return (p * difference(p, log_p, log_q)).sum(-1)


def difference(p: torch.Tensor, log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """log p - log q, and 0 where p is: there its factor p makes it nothing, and the logarithms may be infinite."""
    # Not `p > 0`, which would take a NaN for a zero and hide it.
    none = p == 0
    return log_p.masked_fill(none, 0) - log_q.masked_fill(none, 0)


def kl_of(p: torch.Tensor, log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """`kl` with p = exp(log_p) at hand and without a graph. The mask, half the cost, is needed only where a logarithm is infinite."""
    values = (log_p - log_q).mul_(p).sum(-1)
    return values if bool(values.isfinite().all()) else kl(log_p, log_q)


def slope_of(p: torch.Tensor, log_p: torch.Tensor, log_q: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """p (log p - log q - value): the gradient in p's logits of the divergence `value` from q. As in `kl_of` the mask is rarely needed."""
    slope = (log_p - log_q).sub_(value[..., None]).mul_(p)
    return slope if bool(slope.isfinite().all()) else difference(p, log_p, log_q).sub_(value[..., None]).mul_(p)


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
        return value, slope_of(p_s, log_s, log_t, value)
