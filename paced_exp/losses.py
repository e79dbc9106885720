"""Per-token divergences between teacher and student, in nats, from logits; weights and reductions are applied by the caller.

Every function takes logits (..., V), works in float32 or wider, and returns one value a token (...). Terms with zero teacher (or
student) probability contribute exactly zero, so logits of +-1e4 give finite values.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from paced_exp.errors import UserError

Divergence = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    return F.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=-1)


def _kl(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """sum p (log p - log q); p = 0 contributes 0 whatever log q is."""
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), torch.zeros_like(p)).sum(-1)


def forward_kl(student_logits: torch.Tensor, teacher_logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """KL(pi_T || pi_S) = sum pi_T (log pi_T - log pi_S), nats; its gradient in the student's logits is pi_S - pi_T. PACED's distillation loss."""
    return _kl(_log_probabilities(teacher_logits), _log_probabilities(student_logits))


def reverse_kl(student_logits: torch.Tensor, teacher_logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """KL(pi_S || pi_T) = sum pi_S (log pi_S - log pi_T), nats; gradient pi_S (log pi_S - log pi_T - KL). PACED's self-distillation loss."""
    return _kl(_log_probabilities(student_logits), _log_probabilities(teacher_logits))


def cross_entropy(student_logits: torch.Tensor, teacher_logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """-log pi_S(y_t) of the reference's token y_t, nats; the teacher's logits are not used."""
    return -_log_probabilities(student_logits).gather(-1, tokens[..., None]).squeeze(-1)


DIVERGENCES: dict[str, Divergence] = {"forward_kl": forward_kl, "reverse_kl": reverse_kl, "cross_entropy": cross_entropy}


def divergence(name: str) -> Divergence:
    """The divergence by name. Raises `UserError` for an unknown one, listing the known ones."""
    if name not in DIVERGENCES:
        raise UserError(f"--divergence {name} is not known; known: {', '.join(DIVERGENCES)}")
    return DIVERGENCES[name]


def mean_over_tokens(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Per-problem loss: mean of per-token values (B, R) over supervised tokens, mask (B, R) bool; a masked value counts for exactly nothing.

    Raises `UserError` when a problem has no supervised token.
    """
    counts = mask.sum(-1)
    if (counts == 0).any():
        raise UserError(f"row {int((counts == 0).nonzero()[0])} of the batch has no supervised response token; drop the problem")
    return torch.where(mask, values, torch.zeros_like(values)).sum(-1) / counts
