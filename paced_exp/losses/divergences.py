"""Per-token divergences between teacher and student, in nats, from logits; weights and reductions are applied by the caller.

Every function takes logits (..., V), works in float32 or wider, and returns one value a token (...). Terms with zero teacher (or
student) probability contribute exactly zero, so logits of +-1e4 give finite values.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from paced_exp.core.errors import UserError

Divergence = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _wide(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    return F.log_softmax(_wide(logits), dim=-1)


def _kl(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """sum p (log p - log q); p = 0 contributes 0 whatever log q is."""
    p = log_p.exp()
    # Not `p > 0`, which would take a NaN for a zero and hide it.
    return torch.where(p == 0, torch.zeros_like(p), p * (log_p - log_q)).sum(-1)


def forward_kl(student_logits: torch.Tensor, teacher_logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """KL(pi_T || pi_S) = sum pi_T (log pi_T - log pi_S), nats; its gradient in the student's logits is pi_S - pi_T. PACED's distillation loss."""
    return _kl(_log_probabilities(teacher_logits), _log_probabilities(student_logits))


def reverse_kl(student_logits: torch.Tensor, teacher_logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """KL(pi_S || pi_T) = sum pi_S (log pi_S - log pi_T), nats; gradient pi_S (log pi_S - log pi_T - KL). PACED's self-distillation loss."""
    return _kl(_log_probabilities(student_logits), _log_probabilities(teacher_logits))


def cross_entropy(student_logits: torch.Tensor, teacher_logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """-log pi_S(y_t) of the reference's token y_t, nats; the teacher's logits are not used."""
    return -_log_probabilities(student_logits).gather(-1, tokens[..., None]).squeeze(-1)


def generalised_jsd(student_logits: torch.Tensor, teacher_logits: torch.Tensor, tokens: torch.Tensor, *, beta: float = 0.5) -> torch.Tensor:
    """b KL(pi_T || m) + (1-b) KL(pi_S || m) with m = b pi_T + (1-b) pi_S, nats; at most the entropy of (b, 1-b), log 2 at b = 1/2.

    The convention of Agarwal et al. (GKD, 2024) and of TRL: beta = 0 means forward KL and beta = 1 reverse KL, the limits of the value
    divided by b and by 1-b; the value itself vanishes at both ends. Raises `UserError` for beta outside [0, 1].
    """
    if not 0 <= beta <= 1:
        raise UserError(f"`jsd_beta` {beta} must be in [0, 1]: 0 is forward KL, 1 reverse KL")
    if beta == 0:
        return forward_kl(student_logits, teacher_logits, tokens)
    if beta == 1:
        return reverse_kl(student_logits, teacher_logits, tokens)
    log_s, log_t = _log_probabilities(student_logits), _log_probabilities(teacher_logits)
    log_m = torch.logaddexp(log_t + math.log(beta), log_s + math.log1p(-beta))
    return beta * _kl(log_t, log_m) + (1 - beta) * _kl(log_s, log_m)


def akl(student_logits: torch.Tensor, teacher_logits: torch.Tensor, tokens: torch.Tensor, *, mu: float = 0.5) -> torch.Tensor:
    """Adaptive KL (Wu et al., COLING 2025): a FKL + (1-a) RKL, a = g_head / (g_head + g_tail), nats.

    A gap g is the sum of |pi_T - pi_S| over the head or the tail. The head holds the teacher's most likely tokens as long as their
    cumulative probability is at most `mu`, and always the first. a carries no gradient, and is 1/2 where both gaps are 0.
    """
    log_s, log_t = _log_probabilities(student_logits), _log_probabilities(teacher_logits)
    with torch.no_grad():
        p_t, order = log_t.exp().sort(dim=-1, descending=True, stable=True)
        gaps = (p_t - log_s.exp().gather(-1, order)).abs()
        head = p_t.cumsum(-1) <= mu
        head[..., 0] = True
        total = gaps.sum(-1)
        share = torch.where(total > 0, (gaps * head).sum(-1) / total, torch.full_like(total, 0.5))
    return share * _kl(log_t, log_s) + (1 - share) * _kl(log_s, log_t)


DIVERGENCES: dict[str, Divergence] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "cross_entropy": cross_entropy,
    "jsd": generalised_jsd,
    "akl": akl,
}


def divergence(name: str, *, temperature: float = 1.0, jsd_beta: float = 0.5, chunk: int | None = None) -> Divergence:
    """The divergence by name. Raises `UserError` for an unknown one, listing the known ones, and for options out of range.

    temperature: divides the logits of both models before the softmax; no factor T^2 is put on the loss, and cross-entropy, which
    compares with a token and not with a teacher, is taken at 1. jsd_beta: of `generalised_jsd`. chunk: tokens whose softmaxes are held at a time (see `_chunked`).
    """
    if name not in DIVERGENCES:
        raise UserError(f"`divergence` {name} is not known; known: {', '.join(DIVERGENCES)}")
    if not 0 < temperature < math.inf:
        raise UserError(f"`loss_temperature` {temperature} must be positive and finite")
    found: Divergence = DIVERGENCES[name]
    if name == "jsd":
        if not 0 <= jsd_beta <= 1:
            raise UserError(f"`jsd_beta` {jsd_beta} must be in [0, 1]: 0 is forward KL, 1 reverse KL")
        found = partial(generalised_jsd, beta=jsd_beta)
    if temperature != 1 and name != "cross_entropy":
        found = partial(_tempered, found, temperature)
    return found if chunk is None else partial(_chunked, found, chunk)


def _tempered(
    loss: Divergence, temperature: float, student_logits: torch.Tensor, teacher_logits: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    return loss(_wide(student_logits) / temperature, _wide(teacher_logits) / temperature, tokens)


def _chunked(
    loss: Divergence, chunk: int, student_logits: torch.Tensor, teacher_logits: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """`loss` over `chunk` tokens at a time, each recomputed in the backward pass.

    Softmaxes and products, several times the logits' size in float32, are then held for one chunk only. Same values and gradients.
    """
    if chunk < 1:
        raise UserError(f"`loss_chunk` {chunk} must be at least 1")
    students = student_logits.flatten(0, -2).split(chunk)
    teachers = teacher_logits.flatten(0, -2).split(chunk)
    parts = zip(students, teachers, tokens.flatten().split(chunk), strict=True)
    values = [checkpoint(loss, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    return torch.cat(values).reshape(tokens.shape) if values else student_logits.new_zeros(tokens.shape)


def mean_over_tokens(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Per-problem loss: mean of per-token values (B, R) over supervised tokens, mask (B, R) bool; a masked value counts for exactly nothing.

    Raises `UserError` when a problem has no supervised token.
    """
    counts = mask.sum(-1)
    if (counts == 0).any():
        raise UserError(f"row {int((counts == 0).nonzero()[0])} of the batch has no supervised response token; drop the problem")
    return torch.where(mask, values, torch.zeros_like(values)).sum(-1) / counts
