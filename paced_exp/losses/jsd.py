"""The generalised Jensen-Shannon divergence, between forward and reverse KL (Agarwal et al., GKD, 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paced_exp.core.errors import UserError
from paced_exp.losses.divergences import Divergence, log_probabilities
from paced_exp.losses.kl import ForwardKL, ReverseKL, kl, kl_of, slope_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class GeneralisedJSD(Divergence):
    """b KL(pi_T || m) + (1-b) KL(pi_S || m) with m = b pi_T + (1-b) pi_S, nats; at most the entropy of (b, 1-b), log 2 at b = 1/2.

    Its gradient in the student's logits is (1-b) pi_S (log pi_S - log m - KL(pi_S || m)). The convention is GKD's and TRL's: beta = 0 means
    forward KL and beta = 1 reverse KL, the limits of the value divided by b and by 1-b; the value itself vanishes at both ends. Raises
    `UserError` for beta outside [0, 1].
    """

    name = "jsd"
    label = "Jensen-Shannon"
    beta: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise UserError(f"`jsd_beta` {self.beta} must be in [0, 1]: 0 is forward KL, 1 reverse KL")

    def value(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        if self.beta in (0, 1):
            return self._end.value(student, teacher, tokens)
        log_s, log_t = log_probabilities(student), log_probabilities(teacher)
        log_m = self._mixture(log_s, log_t)
        return self.beta * kl(log_t, log_m) + (1 - self.beta) * kl(log_s, log_m)

    def value_and_gradient(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.beta in (0, 1):
            return self._end.value_and_gradient(student, teacher, tokens)
        log_s, log_t = log_probabilities(student), log_probabilities(teacher)
        log_m = self._mixture(log_s, log_t)
        p_s = log_s.exp()
        of_student = kl_of(p_s, log_s, log_m)
        value = self.beta * kl_of(log_t.exp(), log_t, log_m) + (1 - self.beta) * of_student
        return value, slope_of(p_s, log_s, log_m, of_student).mul_(1 - self.beta)

    @property
    def _end(self) -> Divergence:
        return ForwardKL() if self.beta == 0 else ReverseKL()

    def _mixture(self, log_s: torch.Tensor, log_t: torch.Tensor) -> torch.Tensor:
        log_t, log_s = log_t + math.log(self.beta), log_s + math.log1p(-self.beta)
        log_m = log_t.logaddexp(log_s)
        # Where both are zero autograd would make NaN of it.
        if not bool((none := log_m.isneginf()).any()):
            return log_m
        return log_t.masked_fill(none, 0).logaddexp(log_s.masked_fill(none, 0)).masked_fill(none, -math.inf)
