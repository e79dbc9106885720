"""Adaptive KL (Wu et al., COLING 2025): forward and reverse KL mixed by where teacher and student differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paced_exp.core.errors import UserError
from paced_exp.losses.divergences import Divergence, log_probabilities
from paced_exp.losses.kl import kl, kl_of, slope_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class AdaptiveKL(Divergence):
    """a FKL + (1-a) RKL with a = g_head / (g_head + g_tail), nats.

    A gap g is the sum of |pi_T - pi_S| over the head or the tail. The head holds the teacher's most likely tokens as long as their
    cumulative probability is at most `mu`, and always the first. The share a carries no gradient, so that the gradient is the KLs' own,
    mixed alike; it is 1/2 where both gaps are 0. Raises `UserError` for mu outside [0, 1].
    """

    name = "akl"
    label = "AKL"
    mu: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.mu <= 1:
            raise UserError(f"`akl_mu` {self.mu} must be in [0, 1]: the probability that the head may hold")

    def value(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        log_s, log_t = log_probabilities(student), log_probabilities(teacher)
        share = self._share(log_s.detach().exp(), log_t.detach().exp())
        return share * kl(log_t, log_s) + (1 - share) * kl(log_s, log_t)

    def value_and_gradient(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_s, log_t = log_probabilities(student), log_probabilities(teacher)
        p_s, p_t = log_s.exp(), log_t.exp()
        share = self._share(p_s, p_t)
        forward, reverse = kl_of(p_t, log_t, log_s), kl_of(p_s, log_s, log_t)
        of_reverse = slope_of(p_s, log_s, log_t, reverse)
        gradient = share[..., None] * (p_s - p_t) + (1 - share)[..., None] * of_reverse
        return share * forward + (1 - share) * reverse, gradient

    def _share(self, p_s: torch.Tensor, p_t: torch.Tensor) -> torch.Tensor:
        """a at each token (...)."""
        p_t, order = p_t.sort(dim=-1, descending=True, stable=True)
        gaps = (p_t - p_s.gather(-1, order)).abs()
        head = p_t.cumsum(-1) <= self.mu
        head[..., 0] = True
        total = gaps.sum(-1)
        return ((gaps * head).sum(-1) / total).where(total > 0, 0.5)
