"""Folds the per-problem gradients of a batch, parameter by parameter, into squared norms, sums and sketches, and then drops them.

The gradient of a parameter that is used twice is the sum over its uses, so ||a + b||^2 = ||a||^2 + ||b||^2 + 2 <a, b>. For a tied embedding
and head, the cross term only needs T x T products. The gradients of several linear uses are joined along the positions.
"""

from dataclasses import dataclass, field

import torch
from torch import nn

from paced_exp.gradients.rules import Contribution, Outer, Rows
from paced_exp.gradients.sketch import Projection

# To multiply a layer's gradients out, each of their elements is read and written a few times. The T x T form avoids this for T^2 (p + q)
# multiplications per problem. The balance, in multiplications per element, was measured on AMD EPYC and AVX-512 (bench/README.md).
_ELEMENT_COST = 24
# Elements of per-problem gradients in memory at a time: about a processor's cache, or enough for a GPU. At least one problem.
_CHUNK = {"cpu": 1 << 20}
_CHUNK_GPU = 1 << 26


@dataclass
class Uses:
    """How a forward pass used one parameter: number of linear uses, tokens (B, T) of each embedding use, number of direct uses."""

    outer: int = 0
    rows: list[torch.Tensor] = field(default_factory=list)
    whole: int = 0

    def __bool__(self) -> bool:
        return bool(self.outer or self.rows or self.whole)


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of norms and sums. Half precisions are accumulated in float32."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


class Fold:
    """Receives the contributions of one backward pass. Gives norms_squared (B,) float64, sketches (B, m), and totals by parameter id.

    uses: of each counted parameter, from the forward pass. Each kind of use is folded once all its contributions have come in.
    metric: the diagonal of a metric D, as a tensor for each parameter by its id. norms_squared are then g^T D g.
    """

    def __init__(
        self,
        batch: int,
        uses: dict[int, Uses],
        totals: dict[int, torch.Tensor],
        sketch: Projection | None,
        metric: dict[int, torch.Tensor] | None = None,
    ) -> None:
        some = next(iter(totals.values()))
        self.norms_squared = torch.zeros(batch, dtype=torch.float64, device=some.device)
        self._sketches = sketch.buffer(batch, some.dtype, some.device) if sketch else None
        self._uses = uses
        self._totals = totals
        self._sketch = sketch
        self._metric = metric
        self._outer: dict[int, list[Outer]] = {key: [] for key in uses}
        self._rows: dict[int, list[tuple[int, Rows]]] = {key: [] for key in uses}
        self._whole: dict[int, list[torch.Tensor]] = {key: [] for key in uses}
        # For a parameter that is embedding and head: the head's left factor at the tokens of each embedding use, and its right factor.
        self._head: dict[int, tuple[list[torch.Tensor], torch.Tensor]] = {}
        self._waiting = {key: use.outer + len(use.rows) + use.whole for key, use in uses.items()}

    def sketches(self) -> torch.Tensor:
        """The sketches (B, m); m = 0 without a sketch."""
        if self._sketch is None or self._sketches is None:
            return self.norms_squared.new_zeros(len(self.norms_squared), 0)
        return self._sketch.result(self._sketches)

    def unfinished(self) -> list[int]:
        """Ids of parameters with uses that have not come in."""
        return [key for key, count in self._waiting.items() if count]

    def receive(self, parameter: nn.Parameter, use: int, contribution: Contribution) -> None:
        """Take the contribution of one use. use: number of the embedding use of a parameter, in the order of the forward pass."""
        key = id(parameter)
        self._waiting[key] -= 1
        if isinstance(contribution, Outer):
            self._outer[key].append(contribution)
            if len(self._outer[key]) == self._uses[key].outer:
                self._fold_outer(parameter, self._outer.pop(key))
        elif isinstance(contribution, Rows):
            self._rows[key].append((use, contribution))
            if len(self._rows[key]) == len(self._uses[key].rows):
                self._fold_rows(parameter, [rows for _, rows in self._rows[key]])
        else:
            self._whole[key].append(contribution.values.to(wide(contribution.values.dtype)))
            if len(self._whole[key]) == self._uses[key].whole:
                parts = self._whole.pop(key)
                self._fold_whole(parameter, slice(None), parts[0] if len(parts) == 1 else torch.stack(parts).sum(0))
        if self._waiting[key] == 0 and key in self._head:
            self._add_cross_term(key)

    def _fold_outer(self, parameter: nn.Parameter, uses: list[Outer]) -> None:
        key = id(parameter)
        left, right = _joined([use.left for use in uses]), _joined([use.right for use in uses])
        if self._uses[key].rows:
            at_tokens = [_gather(left, tokens) for tokens in self._uses[key].rows]
            self._head[key] = (at_tokens, right)
        (batch, length, p), q = left.shape, right.shape[-1]
        if self._sketch is None and self._metric is None and length * length * (p + q) < _ELEMENT_COST * p * q:
            left_gram, right_gram = (torch.bmm(f, f.mT) for f in (left.to(wide(left.dtype)), right.to(wide(right.dtype))))
            self.norms_squared += (left_gram * right_gram).sum((1, 2)).clamp(min=0)
            self._totals[key] += left.reshape(-1, p).T @ right.reshape(-1, q)
            return
        size = max(1, _CHUNK.get(left.device.type, _CHUNK_GPU) // (p * q))
        for start in range(0, batch, size):
            chunk = slice(start, start + size)
            self._fold_whole(parameter, chunk, torch.bmm(left[chunk].mT, right[chunk]).flatten(1))

    def _fold_whole(self, parameter: nn.Parameter, problems: slice, gradients: torch.Tensor) -> None:
        """Fold the gradients (rows of the slice, parameter's size) of some problems."""
        gradients = gradients.to(wide(gradients.dtype))
        scaled = gradients if self._metric is None else gradients * self._metric[id(parameter)].reshape(-1).sqrt()
        self.norms_squared[problems] += torch.linalg.vector_norm(scaled, dim=1).double().square()
        # A product with ones takes half the time of a sum over the first dimension.
        self._totals[id(parameter)].view(-1).addmv_(gradients.T, gradients.new_ones(len(gradients)))
        if self._sketch is not None and self._sketches is not None:
            self._sketch.add(self._sketches[problems], parameter, gradients)

    def _fold_rows(self, parameter: nn.Parameter, uses: list[Rows]) -> None:
        """Sum the positions of a problem that have the same token. Then no two contributions share a row of the gradient."""
        key = id(parameter)
        tokens, values = torch.cat([use.tokens for use in uses], 1), _joined([use.values for use in uses])
        values = values.to(wide(values.dtype))
        batch, rows = tokens.shape[0], parameter.shape[0]
        pairs = (tokens + torch.arange(batch, device=tokens.device)[:, None] * rows).flatten()
        distinct, place = torch.unique(pairs, return_inverse=True)
        summed = values.new_zeros(len(distinct), values.shape[-1]).index_add_(0, place, values.reshape(-1, values.shape[-1]))
        problems, touched = distinct // rows, distinct % rows
        squares = summed.double().square() if self._metric is None else summed.double().square() * self._metric[key][touched]
        self.norms_squared.index_add_(0, problems, squares.sum(1))
        self._totals[key].index_add_(0, touched, summed)
        if self._sketch is not None and self._sketches is not None:
            self._sketch.add_rows(self._sketches, parameter, problems, touched, summed)

    def _add_cross_term(self, key: int) -> None:
        """2 <head's gradient, embedding's gradient> = 2 sum_{t,s} left[t, token[s]] (right[t] . values[s]); in a metric <head's, D embedding's>."""
        at_tokens, right = self._head.pop(key)
        for use, rows in self._rows.pop(key):
            values = rows.values.to(wide(rows.values.dtype))
            if self._metric is not None:
                values = values * self._metric[key][rows.tokens]
            products = torch.bmm(right.to(wide(right.dtype)), values.mT)
            self.norms_squared += 2 * (at_tokens[use].to(products.dtype) * products).sum((1, 2))


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _gather(left: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """left (B, T, V) at tokens (B, S): (B, T, S)."""
    return left.gather(2, tokens[:, None].expand(-1, left.shape[1], -1))
