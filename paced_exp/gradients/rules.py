"""The contribution of each kind of layer to the per-problem gradients of its parameters, from its input and the gradient at its output.

Shapes: B problems, T positions, a weight p x q. The gradient of a linear layer is kept as factors, sum_t left[t] (x) right[t], and that of an
embedding as the rows it touches. Neither is multiplied out here, since norms do not always need it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Outer:
    """The gradient sum_t left[b,t] (x) right[b,t] of a matrix parameter (p, q): left (B, T, p), right (B, T, q)."""

    left: torch.Tensor
    right: torch.Tensor


@dataclass(frozen=True)
class Rows:
    """The gradient of a matrix parameter whose row tokens[b,t] receives values[b,t]: tokens (B, T), values (B, T, q)."""

    tokens: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True)
class Whole:
    """The gradient itself, (B, size of the parameter)."""

    values: torch.Tensor


Contribution = Outer | Rows | Whole


@dataclass(frozen=True)
class Rule:
    """A kind of layer. weight: the form of its weight's contribution. contributions(layer, input, output gradient): contributions by parameter name."""

    weight: type[Outer] | type[Rows] | type[Whole]
    contributions: Callable[[Any, torch.Tensor, torch.Tensor], Iterator[tuple[str, Contribution]]]


def _positions(values: torch.Tensor) -> torch.Tensor:
    """(B, ..., H) as (B, positions, H); (B, H) has one position."""
    return values.reshape(values.shape[0], -1, values.shape[-1])


def _linear(module: nn.Linear, x: torch.Tensor, gradient: torch.Tensor) -> Iterator[tuple[str, Contribution]]:
    gradient = _positions(gradient)
    yield "weight", Outer(gradient, _positions(x))
    if module.bias is not None:
        yield "bias", Whole(gradient.sum(1))


def _conv1d(module: Any, x: torch.Tensor, gradient: torch.Tensor) -> Iterator[tuple[str, Contribution]]:
    # GPT-2's Conv1D is a linear layer with its weight stored (in, out).
    gradient = _positions(gradient)
    yield "weight", Outer(_positions(x), gradient)
    yield "bias", Whole(gradient.sum(1))


def _embedding(module: nn.Embedding, x: torch.Tensor, gradient: torch.Tensor) -> Iterator[tuple[str, Contribution]]:
    if module.padding_idx is not None:  # as in torch, this layer does not train the padding token's row
        gradient = gradient.masked_fill((x == module.padding_idx)[..., None], 0)
    yield "weight", Rows(x.reshape(x.shape[0], -1), _positions(gradient))


def _layer_norm(module: nn.LayerNorm, x: torch.Tensor, gradient: torch.Tensor) -> Iterator[tuple[str, Contribution]]:
    normalised = nn.functional.layer_norm(x, module.normalized_shape, eps=module.eps)
    yield "weight", Whole(_positions(gradient * normalised).sum(1))
    if module.bias is not None:
        yield "bias", Whole(_positions(gradient).sum(1))


def _rms_norm(module: Any, x: torch.Tensor, gradient: torch.Tensor) -> Iterator[tuple[str, Contribution]]:
    if x.dtype == gradient.dtype == torch.float32:  # the same in half as many passes over the activations
        scale = torch.rsqrt(torch.linalg.vector_norm(x, dim=-1).square_().div_(x.shape[-1]).add_(module.variance_epsilon))
        yield "weight", Whole(torch.bmm(scale.reshape(len(x), 1, -1), _positions(gradient * x)).squeeze(1))
        return
    wide = x.float()  # transformers normalises in float32 even if the model is float64
    normalised = (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + module.variance_epsilon)).to(x.dtype)
    yield "weight", Whole(_positions(gradient * normalised).sum(1))


def rule_of(module: nn.Module) -> Rule | None:
    """The rule for a layer's own parameters, or None if there is none.

    Every model in transformers has its own RMSNorm class. Those of Llama and Qwen compute the same. Gemma's, with (1 + weight), has another name
    for its epsilon, and so is not taken for one of them.
    """
    if type(module) is nn.Linear:
        return Rule(Outer, _linear)
    if type(module) is nn.Embedding and module.max_norm is None and not module.scale_grad_by_freq:
        return Rule(Rows, _embedding)
    if type(module) is nn.LayerNorm and module.elementwise_affine and len(module.normalized_shape) == 1:
        return Rule(Whole, _layer_norm)
    if type(module).__name__ == "Conv1D" and type(module).__module__ == "transformers.pytorch_utils":
        return Rule(Outer, _conv1d)
    if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
        return Rule(Whole, _rms_norm)
    return None
