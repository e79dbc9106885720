"""Weighted divergence straight from hidden states: four matrix products, nothing computed twice, never all logits at a time.

The weights of PACED are known before the forward pass, so the gradient of sum_t w_t D_t is complete as soon as a chunk of tokens has its
logits: student's and teacher's products, the divergence's gradient in the logits, and from it the products for the gradients of hidden
states and head (`chunked`). The backward pass hands these on. Beside the gradients, only one chunk's logits of both models are alive.
"""

from dataclasses import replace
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from paced_exp.core.errors import UserError
from paced_exp.losses.chunked import HeadGradients, Job, computed
from paced_exp.losses.divergences import wide
from paced_exp.losses.heads import Head, States
from paced_exp.losses.problem_loss import ProblemLoss, Targets


def fused_divergence(
    states: torch.Tensor, head: Head, targets: Targets, tokens: torch.Tensor, weights: torch.Tensor, loss: ProblemLoss
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum_t weights_t D_t, the values D_t (N,) in nats, which carry no gradient).

    states (N, H) and head: the student's. targets: the teacher's hidden states with its head, its logits, or its k likeliest tokens with a
    tail. tokens (N,): those that follow. weights (N,): anything known before the forward pass. loss: divergence, temperature and the tokens
    of a chunk, as many as hold `CHUNK_ELEMENTS` logits when None. Gradients go to the states and to the head's weight and bias, in their
    own dtypes, summed in float32 (float64 where the states are); and to the weights, whose gradient is the values.
    """
    if isinstance(targets, States):
        targets = States(targets.states, targets.head.to(targets.states.dtype))
    job = Job(head, targets, tokens, replace(loss, chunk=None), loss.chunk, torch.is_grad_enabled())
    total, values = _Fused.apply(states, head.weight, head.bias, weights, job)  # type: ignore[no-untyped-call]
    return total, values


def fused_losses(
    states: torch.Tensor,
    head: Head,
    targets: Targets,
    tokens: torch.Tensor,
    layout: torch.Tensor,
    loss: ProblemLoss,
    gradients: HeadGradients | None = None,
) -> torch.Tensor:
    """The losses (B,) of `ProblemLoss` from hidden states, with a graph to states and head, for the losses' plain sum alone.

    layout (B, R) bool: how the N tokens lie in rows. Other arguments: of `fused_divergence`. gradients: takes the head's gradient of each
    problem. The graph then does not reach the head, unless `gradients.trained`. Raises `UserError` in the backward pass if losses were
    weighted meanwhile and the head's gradient depends on it.
    """
    if isinstance(targets, States):
        targets = States(targets.states, targets.head.to(targets.states.dtype))
    counts = layout.sum(-1)
    weights = 1 / counts.to(wide(states[:0]).dtype) if loss.reduction == "mean" else torch.ones_like(counts, dtype=wide(states[:0]).dtype)
    job = Job(
        head, targets, tokens, replace(loss, chunk=None), loss.chunk, torch.is_grad_enabled(), tuple(counts.tolist()), layout, gradients
    )
    trained = gradients is None or gradients.trained
    weight, bias = (p if trained or p is None else p.detach() for p in (head.weight, head.bias))
    losses: torch.Tensor = _Losses.apply(states, weight, bias, weights.repeat_interleave(counts), job)  # type: ignore[no-untyped-call]
    return losses


class _Fused(torch.autograd.Function):
    """The weighted sum and the values; gradients are made in the forward pass and saved, so the backward pass may run again, or not at all."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, weights: torch.Tensor, job: Job
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.set_materialize_grads(False)
        with torch.autocast(states.device.type, enabled=False):
            values, *gradients = computed(states, weights, job, ctx.needs_input_grad if job.graph else (False,) * 3)
            total = (weights.to(values.dtype) * values).sum()
        ctx.save_for_backward(values, *gradients)
        ctx.mark_non_differentiable(values)
        return total, values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor | None, _: None) -> tuple[torch.Tensor | None, ...]:
        if upstream is None:
            return (None,) * 5
        values, *gradients = ctx.saved_tensors
        gradients.append(values if ctx.needs_input_grad[3] else None)
        # The usual case, in which no second tensor of the head's size is made.
        if bool(upstream != 1):
            factor = upstream.item()  # a plain number, which half precision multiplies in single: a loss scale has no half
            gradients = [None if gradient is None else gradient * factor for gradient in gradients]
        return *gradients, None


class _Losses(torch.autograd.Function):
    """Each problem's loss. Gradients are made in the forward pass as in `_Fused`; a row's own factor scales the gradient of its states."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, weights: torch.Tensor, job: Job
    ) -> torch.Tensor:
        assert job.counts is not None and job.layout is not None
        if job.gradients is not None:
            job.gradients.begin(len(job.counts))
        with torch.autocast(states.device.type, enabled=False):
            values, *gradients = computed(states, weights, job, ctx.needs_input_grad if job.graph else (False,) * 3)
        ctx.counts, ctx.gradients = job.counts, job.gradients
        ctx.save_for_backward(*gradients)
        return job.loss.reduced(values, job.layout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_states, *of_head = ctx.saved_tensors
        if bool((upstream != 1).any()):
            if ctx.gradients is not None:
                ctx.gradients.scaled(upstream)
            elif any(ctx.needs_input_grad[1:3]):
                raise UserError(
                    "a fused loss was weighted after its head's gradient had been computed; make weights part of the loss, or take the dense loss"
                )
            of_head = [None, None]  # it is known for the plain sum of the losses alone
            factors = upstream.repeat_interleave(torch.tensor(ctx.counts, device=upstream.device))
            of_states = None if of_states is None else of_states * factors.to(of_states.dtype)[:, None]
        return of_states, *of_head, None, None
