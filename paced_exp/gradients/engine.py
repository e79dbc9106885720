"""Exact gradients of each problem from one batched backward pass: squared norms, the bin's sum, and sketches for inner products.

For a layer y = x W^T, the gradient of problem i is sum_t dL/dy[i,t] (x) x[i,t]. A backward pass has both factors, so the gradient of every
problem, or only its norm, costs about as much as the weight gradient of the whole batch. Hooks send each layer's output through an identity
whose backward pass receives dL/dy. The model's class, its parameters and their .grad do not change. Autograd only computes activation
gradients, and nothing of the size B x model is ever in memory (`fold`, `rules`). A loss that reads the head itself, a chunk of tokens at a
time, hands over the head's gradient of each problem (`PerProblemGradients.head`), so that no logits of a batch are in memory either.

The gradients are exact if the loss of problem i only depends on row i of the batch. Attention, norms and linear layers act row by row; batch
norm, a balancing loss over the batch, or experts of limited capacity do not. So the first batches are checked for every model: the loss of each
row is scaled by its own power of two, which must scale that row's gradient by exactly the same factor, and the sum of the per-problem gradients
must equal autograd's gradient of the batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from paced_exp.core.errors import UserError
from paced_exp.gradients.checks import check_rows_alone, other_sums
from paced_exp.gradients.counted import counted
from paced_exp.gradients.fold import Fold, Uses, squared, wide
from paced_exp.gradients.head import HeadFold, Part
from paced_exp.gradients.identity import Identity
from paced_exp.gradients.rules import Outer, Rows, Rule, rule_of
from paced_exp.gradients.sketch import Projection, Sketch

__all__ = ["GradientSums", "PerProblemGradients", "Sketch"]


@dataclass
class GradientSums:
    """What a bin needs from its problems' gradients: norms_squared (n,), sketches (n, m) and the exact ||sum g||^2.

    m is 0 without a sketch. With `InnerProducts`, the sketches are the inner products. Norms are in the engine's metric.
    """

    norms_squared: np.ndarray
    sketches: np.ndarray
    sum_norm_squared: float


class PerProblemGradients:
    """Accumulates `GradientSums` over batches of one bin: `accumulate` runs a batch under hooks, and `sums` gives the result.

    sketch: the projection of `GradientSums.sketches`, random (`Sketch`) or on given directions (`InnerProducts`). Without it, only norms and
        sums are computed, which is cheaper if layers are wide and texts short.
    only: names of parameters or modules ("model.layers.3", "lm_head") to which the gradient is restricted. By default all parameters count,
        whether they require a gradient or not.
    metric: the positive diagonal of a metric D, as a tensor for every counted parameter by name. Squared norms are then g^T D g.

    Raises `UserError` naming the first counted parameter that no rule covers, a layer that joins the rows of a batch, or a name in `only`
    that the model does not have.
    """

    def __init__(
        self,
        model: nn.Module,
        sketch: Projection | None = None,
        only: Sequence[str] | None = None,
        metric: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.model = model
        self.sketch = sketch
        self._names = counted(model, only)
        self._parameters = {id(p): p for p in model.parameters() if id(p) in self._names}
        self._metric: dict[int, torch.Tensor] | None = None
        if metric is not None:
            self._metric = {key: metric[self._names[key]].to(p.device, wide(p.dtype)) for key, p in self._parameters.items()}
        self._totals = self._zeros()
        self._norms: list[torch.Tensor] = []
        self._sketches: list[torch.Tensor] = []
        self._sum_checked = self._rows_checked = False
        self._batch = 0
        self._uses: dict[int, Uses] = {}
        self._walking = False  # a backward pass runs; a layer called meanwhile is recomputed by activation checkpointing
        self._fold: Fold | None = None  # receives that pass's contributions
        self._handed: Fold | None = None  # receives in the forward pass what a loss hands over of the head
        self._seen: dict[int, int] = {}  # embedding uses of a handed parameter, before its loss
        self._trained = False  # whether autograd computes the parameters' gradients too
        self._rows: list[torch.Tensor] | None = None  # receives each hooked output's gradient norm by row (B,), for the check of rows
        self._anchor = torch.zeros((), device=next(iter(self._parameters.values())).device, requires_grad=True)
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                raise UserError(
                    f"layer {name!r} is a {type(module).__name__}, which joins the problems of a batch, so a problem has no gradient of its own; "
                    "use a model without batch norm"
                )
            for own, parameter in module.named_parameters(recurse=False):
                if id(parameter) in self._names and rule_of(module) is None:
                    raise UserError(
                        f"parameter {self._names[id(parameter)]!r} belongs to a {type(module).__name__} ({own}), whose per-problem gradient "
                        "is not known here; use a model of Linear, Conv1D, Embedding, LayerNorm and RMSNorm layers"
                    )

    def accumulate(self, batch: int, losses: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Run `losses`, a closure that makes one forward pass and returns (batch,) per-problem losses, and add their gradients. Returns the losses.

        Raises `UserError` if a parameter was used outside its layer's forward pass, if a layer's output does not have one row per problem, if
        a row's loss depends on other rows (norms would be silently wrong in these cases), or if a loss is not finite. Do not accumulate
        further after an error.
        """
        check_sum, check_rows = not self._sum_checked, batch > 1 and not self._rows_checked
        self._batch, self._trained = batch, check_sum
        self._uses = {key: Uses() for key in self._parameters}
        self._handed = fold = Fold(batch, self._uses, self._totals, self.sketch, self._metric)
        try:
            with self._hooked(trained=check_sum):
                values = losses()
                self._handed = None
                self._check_losses(values)
                scale = 2.0 ** (torch.arange(batch, device=values.device) % 5).to(values.dtype)
                scaled: list[torch.Tensor] = []
                found: list[torch.Tensor] = []
                if check_rows:
                    self._rows = scaled
                    self._walk(values * scale, again=True)
                    self._rows = found
                self._fold = fold
                gradients = self._walk(values, *(self._parameters.values() if check_sum else ()))
                for key in fold.unfinished():
                    raise self._read_elsewhere(key)
                if check_sum and (wrong := other_sums(self._parameters, self._totals, gradients)) is not None:
                    raise self._read_elsewhere(wrong)
                if check_rows:
                    check_rows_alone(scaled, found, scale)
        finally:
            self._fold = self._handed = self._rows = None
        self._sum_checked, self._rows_checked = True, self._rows_checked or check_rows
        self._norms.append(fold.norms_squared)
        self._sketches.append(fold.sketches())
        return values.detach()

    def head(self, module: nn.Linear) -> "HandedHead":
        """Takes the gradient of the head `module` from a loss that reads its weights itself (`FusedLoss`), as far as it counts.

        Such a loss must compute the gradient that belongs to the plain sum of the losses: weights are part of the losses.
        """
        own = {name: parameter for name, parameter in module.named_parameters(recurse=False) if id(parameter) in self._parameters}
        return HandedHead(self, own)

    def sums(self) -> GradientSums:
        """The current sums."""
        kept = torch.float32 if self.sketch is None else self.sketch.kept
        return GradientSums(
            norms_squared=torch.cat(self._norms).cpu().numpy(),
            sketches=torch.cat(self._sketches).to(kept).cpu().numpy(),
            sum_norm_squared=sum(
                squared(total, None if self._metric is None else self._metric[key]) for key, total in self._totals.items()
            ),
        )

    def _zeros(self) -> dict[int, torch.Tensor]:
        return {key: torch.zeros(p.shape, dtype=wide(p.dtype), device=p.device) for key, p in self._parameters.items()}

    def _check_losses(self, values: torch.Tensor) -> None:
        if values.shape != (self._batch,):
            raise ValueError(f"losses must have shape ({self._batch},), got {tuple(values.shape)}")
        if not bool(torch.isfinite(values).all()):
            row = int((~torch.isfinite(values)).nonzero()[0])
            raise UserError(
                f"the loss of row {row} of a batch is {values[row].item()}; the model's weights are damaged or its dtype is too narrow (try `dtype` float32)"
            )
        for key, uses in self._uses.items():
            if not uses or (uses.handed and (uses.outer or uses.whole or len(uses.rows) != self._seen[key])):
                raise self._read_elsewhere(key)

    def _walk(self, values: torch.Tensor, *trained: nn.Parameter, again: bool = False) -> tuple[torch.Tensor | None, ...]:
        """Make one backward pass, in which `_receive` is called for every hooked layer. again: keep the graph for another pass.

        Returns autograd's own gradients of the parameters `trained`.
        """
        if not values.requires_grad:  # only a head counts, whose gradient is known already
            return (None,) * len(trained)
        self._walking = True
        try:
            # For the anchor's gradient, autograd visits every hooked layer, but it does not compute gradients of weights.
            return torch.autograd.grad(values.sum(), (self._anchor, *trained), retain_graph=again, allow_unused=True)[1:]
        finally:
            self._walking = False

    def _read_elsewhere(self, key: int) -> UserError:
        return UserError(
            f"parameter {self._names[key]!r} was not used through its own layer's forward pass alone (a fused kernel, reentrant activation "
            "checkpointing, or a layer this loss does not reach), so its per-problem gradient is unknown; use a plain forward pass over full logits"
        )

    @contextmanager
    def _hooked(self, *, trained: bool) -> Iterator[None]:
        """Install the hooks, and let counted parameters require a gradient if `trained`. Both are undone at the end, also after errors."""
        before = [(parameter, parameter.requires_grad) for parameter in self._parameters.values()]
        handles = [
            module.register_forward_hook(partial(self._forward_hook, own, _rule(module)))
            for module in self.model.modules()
            if (own := {name: p for name, p in module.named_parameters(recurse=False) if id(p) in self._parameters})
        ]
        try:
            for parameter, required in before:
                parameter.requires_grad_(required or trained)
            yield
        finally:
            for handle in handles:
                handle.remove()
            for parameter, required in before:
                parameter.requires_grad_(required)

    def _forward_hook(
        self, own: dict[str, nn.Parameter], rule: Rule, module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor
    ) -> torch.Tensor:
        # A model that is its own teacher is read without gradients, and a head whose loss reads it itself is called on no token.
        if not torch.is_grad_enabled() or output.numel() == 0:
            return output
        if output.shape[0] != self._batch:
            raise UserError(
                f"the layer of parameter {self._names[id(next(iter(own.values())))]!r} gave {output.shape[0]} rows for a batch of {self._batch}: "
                "its per-problem gradient cannot be told apart; pass position_ids of the batch's shape"
            )
        x, use = inputs[0].detach(), 0
        if not self._walking:
            for name, parameter in own.items():
                uses = self._uses[id(parameter)]
                if name == "weight" and rule.weight is Rows:
                    use = len(uses.rows)
                    uses.rows.append(x.flatten(1))
                elif name == "weight" and rule.weight is Outer:
                    uses.outer += 1
                else:
                    uses.whole += 1
        same: torch.Tensor = Identity.apply(output, self._anchor, x, partial(self._receive, module, own, rule, use))  # type: ignore[no-untyped-call]
        return same

    def _receive(
        self, module: nn.Module, own: dict[str, nn.Parameter], rule: Rule, use: int, x: torch.Tensor, gradient: torch.Tensor
    ) -> None:
        if self._rows is not None:
            self._rows.append(torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=wide(gradient.dtype)))
        if self._fold is not None:
            for name, contribution in rule.contributions(module, x, gradient):
                if name in own:
                    self._fold.receive(own[name], use, contribution)


class HandedHead:
    """What `PerProblemGradients.head` gives a loss. The loss calls `begin` once a batch, and `take` for every chunk of tokens."""

    def __init__(self, engine: PerProblemGradients, own: dict[str, nn.Parameter]) -> None:
        self._engine = engine
        self._own = own
        self._fold: HeadFold | None = None

    @property
    def trained(self) -> bool:
        """Whether autograd is to give the head's gradient of the whole batch too, to be compared with the sum over problems."""
        return self._engine._trained

    def begin(self, problems: int) -> None:
        """Start a batch. Raises `UserError` if the head is read twice, and `ValueError` for another number of problems."""
        engine = self._engine
        assert engine._handed is not None, "a head is handed over in the forward pass of `accumulate`"
        if problems != engine._batch:
            raise ValueError(f"the loss is of {problems} problems in a batch of {engine._batch}")
        for parameter in self._own.values():
            if engine._uses[id(parameter)].handed:
                raise engine._read_elsewhere(id(parameter))
            engine._seen[id(parameter)] = len(engine._uses[id(parameter)].rows)
        self._fold = HeadFold(engine._handed, self._own.get("weight"), self._own.get("bias"))

    def take(self, parts: Sequence[Part], slope: torch.Tensor, states: torch.Tensor) -> None:
        """Fold a chunk (`HeadFold.take`)."""
        assert self._fold is not None
        self._fold.take(parts, slope, states)

    def scaled(self, factors: torch.Tensor) -> None:
        """Raises `UserError` unless it is the engine that scales the losses: what was taken is the gradient of the losses themselves."""
        if self._engine._fold is not None:
            raise UserError(
                f"the losses of a batch were scaled by up to {float(factors.abs().max()):g} after a fused loss had computed them, so the head's "
                "gradients would be wrong; make the factors part of the loss, or take the dense loss"
            )


def _rule(module: nn.Module) -> Rule:
    rule = rule_of(module)
    assert rule is not None  # __init__ refused the others
    return rule
