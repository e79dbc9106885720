"""Each problem's exact gradient from one batched backward pass: its squared norm, the bin's sum, and a sketch for inner products.

For a layer y = x W^T the gradient of problem i is sum_t dL/dy[i,t] (x) x[i,t]: input and output gradient, both at hand in a backward pass,
give every problem's own weight gradient as one batched product. Embeddings add each token's output gradient to its row; norms multiply
it with the normalised input. A parameter used twice (a tied embedding and head) has its parts added before any norm is taken.

Parameters are frozen while the hooks are on, so autograd computes activation gradients only and the cost stays near a plain backward
pass; only in the first batch it computes theirs too, to which the sum of the per-problem gradients is compared. One layer's per-problem
gradients (B x its size) are held at a time, more only for parameters used twice.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from paced_exp.errors import UserError


@dataclass
class GradientSums:
    """What a bin needs of its problems' gradients. norms_squared (n,), sketches (n, m) and the exact ||sum g||^2; n is len(norms_squared)."""

    norms_squared: np.ndarray
    sketches: np.ndarray
    sum_norm_squared: float


class Sketch:
    """A seeded count sketch: coordinate j is added with random sign into a random one of `size` buckets.

    Inner products are kept without bias, E <Sx, Sy> = <x, y>, with variance at most (||x||^2 ||y||^2 + <x,y>^2) / size
    (Charikar, Chen, Farach-Colton 2002; Weinberger et al. 2009). The bucket and sign of a coordinate depend on seed and parameter only.
    """

    def __init__(self, model: nn.Module, size: int, seed: int) -> None:
        if size < 1:
            raise UserError(f"sketch size {size} must be at least 1")
        self.size = size
        self._maps: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            buckets = torch.randint(size, (parameter.numel(),), generator=generator)
            signs = torch.randint(2, (parameter.numel(),), generator=generator, dtype=torch.int8) * 2 - 1
            self._maps[id(parameter)] = (buckets.to(parameter.device), signs.to(parameter.device))

    def add(self, out: torch.Tensor, parameter: nn.Parameter, gradients: torch.Tensor) -> None:
        """Add the sketch of `gradients` (B, parameter's size), one parameter's per-problem gradients, to `out` (B, size)."""
        buckets, signs = self._maps[id(parameter)]
        out.index_add_(1, buckets, gradients * signs.to(gradients.dtype))


# How far the sum of the per-problem gradients may be from autograd's own, relative to the norm of the whole gradient: rounding only.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
_HALF_TOLERANCE = 5e-2


class PerProblemGradients:
    """Accumulates `GradientSums` over batches of one bin: `accumulate` runs a batch under hooks, `sums` gives the result.

    Raises `UserError` naming the first parameter that no rule covers.
    """

    def __init__(self, model: nn.Module, sketch: Sketch) -> None:
        self.model = model
        self.sketch = sketch
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._parameters = {id(p): p for p in model.parameters()}
        self._totals = {key: torch.zeros(p.shape, dtype=_wide(p.dtype), device=p.device) for key, p in self._parameters.items()}
        self._norms: list[torch.Tensor] = []
        self._sketches: list[torch.Tensor] = []
        self._uses: dict[int, int] = {}
        self._parts: dict[int, tuple[int, torch.Tensor]] = {}
        self._batch = 0
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if _rule(module) is None:
                    raise UserError(
                        f"parameter {self._names[id(parameter)]!r} belongs to a {type(module).__name__} ({name}), whose per-problem gradient "
                        "is not known here; use a model of Linear, Conv1D, Embedding, LayerNorm and RMSNorm layers"
                    )

    def accumulate(self, batch: int, losses: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Run `losses` (a closure: one forward pass, returning (batch,) per-problem losses), and add their gradients. Returns the losses.

        Raises `UserError` naming a parameter that was read outside its layer's own forward pass, or whose layer gave not one row a
        problem (a norm would be silently wrong), and for a loss that is not finite. Do not go on accumulating after an error.
        """
        first = not self._norms
        self._batch = batch
        self._uses = dict.fromkeys(self._parameters, 0)
        self._parts = {}
        some = next(iter(self._parameters.values()))
        self._norms.append(torch.zeros(batch, dtype=torch.float64, device=some.device))
        self._sketches.append(torch.zeros(batch, self.sketch.size, dtype=_wide(some.dtype), device=some.device))
        with self._hooked(frozen=not first):
            values = losses()
            if values.shape != (batch,):
                raise ValueError(f"losses must have shape ({batch},), got {tuple(values.shape)}")
            if not bool(torch.isfinite(values).all()):
                row = int((~torch.isfinite(values)).nonzero()[0])
                raise UserError(
                    f"the loss of row {row} of a batch is {values[row].item()}; the model's weights are damaged or its dtype is too narrow (try --dtype float32)"
                )
            values.sum().backward()
            if first:
                self._check_against_autograd()
        left = [key for key, uses in self._uses.items() if uses == 0 or key in self._parts]
        if left:
            raise self._read_elsewhere(left[0])
        return values.detach()

    def sums(self) -> GradientSums:
        """The sums so far."""
        return GradientSums(
            norms_squared=torch.cat(self._norms).cpu().numpy(),
            sketches=torch.cat(self._sketches).to(torch.float32).cpu().numpy(),
            sum_norm_squared=float(sum(total.double().square().sum() for total in self._totals.values())),
        )

    def _check_against_autograd(self) -> None:
        """Compare the totals of the first batch with the gradients that autograd has just left in the parameters."""
        scale = math.sqrt(sum(float(p.grad.double().square().sum()) for p in self._parameters.values() if p.grad is not None))
        for key, parameter in self._parameters.items():
            own = self._totals[key] if parameter.grad is None else self._totals[key] - parameter.grad
            if float(own.double().norm()) > _TOLERANCE.get(parameter.dtype, _HALF_TOLERANCE) * scale:
                raise self._read_elsewhere(key)

    def _read_elsewhere(self, key: int) -> UserError:
        return UserError(
            f"parameter {self._names[key]!r} was not used through its own layer's forward pass alone (a fused kernel, or a layer this loss "
            "does not reach), so its per-problem gradient is unknown; use a plain forward pass over full logits"
        )

    @contextmanager
    def _hooked(self, *, frozen: bool) -> Iterator[None]:
        """Hooks on; parameters frozen or not meanwhile. Their requires_grad and grad are put back at the end, after errors too."""
        before = [(parameter, parameter.requires_grad, parameter.grad) for parameter in self.model.parameters()]
        handles = [
            module.register_forward_hook(self._forward_hook)
            for module in self.model.modules()
            if any(True for _ in module.parameters(recurse=False))
        ]
        try:
            for parameter, _, _ in before:
                parameter.requires_grad_(not frozen)
                parameter.grad = None
            yield
        finally:
            for handle in handles:
                handle.remove()
            for parameter, required, gradient in before:
                parameter.requires_grad_(required)
                parameter.grad = gradient

    def _forward_hook(self, module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():  # a model that is its own teacher, read without gradients
            return output
        if not output.requires_grad:  # the first layer, its weight being frozen: activation gradients start here
            output = output.detach().requires_grad_(True)
        if output.shape[0] != self._batch:
            name = next(self._names[id(p)] for p in module.parameters(recurse=False))
            raise UserError(
                f"the layer of parameter {name!r} gave {output.shape[0]} rows for a batch of {self._batch}: "
                "its per-problem gradient cannot be told apart; pass position_ids of the batch's shape"
            )
        x = inputs[0].detach()
        rule = _rule(module)
        assert rule is not None  # __init__ refused the others
        for parameter in module.parameters(recurse=False):
            self._uses[id(parameter)] += 1

        def receive(gradient: torch.Tensor) -> None:
            for parameter, per_problem in rule(module, x, gradient):
                self._collect(parameter, per_problem)

        output.register_hook(receive)
        return output

    def _collect(self, parameter: nn.Parameter, per_problem: torch.Tensor) -> None:
        """Take one use's (B, *shape) gradients; once all uses of the parameter are in, fold their sum into norms, total and sketch."""
        key = id(parameter)
        received, whole = 1, per_problem.to(_wide(per_problem.dtype)).flatten(1)
        if key in self._parts:
            before, part = self._parts.pop(key)
            received, whole = before + 1, part + whole
        if received < self._uses[key]:
            self._parts[key] = (received, whole)
            return
        self._norms[-1] += whole.double().square().sum(1) if whole.dtype == torch.float64 else whole.square().sum(1).double()
        self._totals[key] += whole.sum(0).view_as(self._totals[key])
        self.sketch.add(self._sketches[-1], parameter, whole)


Rule = Callable[[nn.Module, torch.Tensor, torch.Tensor], Iterator[tuple[nn.Parameter, torch.Tensor]]]


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Half precisions are accumulated in float32."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def _linear(module: Any, x: torch.Tensor, gradient: torch.Tensor) -> Iterator[tuple[nn.Parameter, torch.Tensor]]:
    rows, inputs, outputs = x.shape[0], x.reshape(x.shape[0], -1, x.shape[-1]), gradient.reshape(x.shape[0], -1, gradient.shape[-1])
    yield module.weight, torch.bmm(outputs.transpose(1, 2), inputs)
    if module.bias is not None:
        yield module.bias, outputs.sum(1).view(rows, -1)


def _conv1d(module: Any, x: torch.Tensor, gradient: torch.Tensor) -> Iterator[tuple[nn.Parameter, torch.Tensor]]:
    # GPT-2's Conv1D is a linear layer with its weight stored (in, out).
    yield module.weight, torch.bmm(x.transpose(1, 2), gradient)
    yield module.bias, gradient.sum(1)


def _embedding(module: Any, x: torch.Tensor, gradient: torch.Tensor) -> Iterator[tuple[nn.Parameter, torch.Tensor]]:
    rows, width = x.shape[0], gradient.shape[-1]
    flat = gradient.new_zeros(rows * module.num_embeddings, width)
    offsets = torch.arange(rows, device=x.device)[:, None] * module.num_embeddings
    used = gradient if module.padding_idx is None else gradient.masked_fill((x == module.padding_idx)[..., None], 0)
    flat.index_add_(0, (x + offsets).flatten(), used.reshape(-1, width))
    yield module.weight, flat.view(rows, module.num_embeddings, width)


def _over_positions(values: torch.Tensor) -> torch.Tensor:
    """Sum over all but the first and last dimension: norms act on (B, T, H) or, per head, on (B, T, heads, H)."""
    return values.flatten(1, -2).sum(1)


def _layer_norm(module: Any, x: torch.Tensor, gradient: torch.Tensor) -> Iterator[tuple[nn.Parameter, torch.Tensor]]:
    normalised = nn.functional.layer_norm(x, module.normalized_shape, eps=module.eps)
    yield module.weight, _over_positions(gradient * normalised)
    if module.bias is not None:
        yield module.bias, _over_positions(gradient)


def _rms_norm(module: Any, x: torch.Tensor, gradient: torch.Tensor) -> Iterator[tuple[nn.Parameter, torch.Tensor]]:
    wide = x.float()  # transformers normalises in float32, also where the model is float64
    normalised = (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + module.variance_epsilon)).to(x.dtype)
    yield module.weight, _over_positions(gradient * normalised)


def _rule(module: nn.Module) -> Rule | None:
    """The per-problem gradient of a layer's own parameters, or None where it is not known.

    RMSNorm classes differ from model to model in transformers but Llama's and Qwen's compute the same; Gemma's (1 + weight) names its
    epsilon otherwise and so is not taken for one of them.
    """
    if type(module) is nn.Linear:
        return _linear
    if type(module) is nn.Embedding and module.max_norm is None and not module.scale_grad_by_freq:
        return _embedding
    if type(module) is nn.LayerNorm and module.elementwise_affine and len(module.normalized_shape) == 1:
        return _layer_norm
    if type(module).__name__ == "Conv1D" and type(module).__module__ == "transformers.pytorch_utils":
        return _conv1d
    if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
        return _rms_norm
    return None
