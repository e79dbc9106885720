"""Folds the per-problem gradients of a batch, parameter by parameter, into squared norms, sums and sketches, and then drops them.

The gradient of a parameter that is used twice is the sum over its uses, so ||a + b||^2 = ||a||^2 + ||b||^2 + 2 <a, b>. For a tied embedding
and head, the cross term only needs the head's gradient in the rows of the tokens that the problem reads. The gradients of several linear uses
are joined along the positions.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from paced_exp.gradients.rules import Contribution, Outer, Rows
from paced_exp.gradients.sketch import Projection

# To multiply a layer's gradients out, each of their elements is read and written a few times. The T x T form avoids this for T^2 (p + q)
# multiplications per problem. The balance, in multiplications per element, was measured on AMD EPYC and AVX-512 (bench/README.md).
_ELEMENT_COST = 24
# Elements of per-problem gradients in memory at a time: about a processor's cache, or enough for a GPU. At least one row of one problem.
_CHUNK = {"cpu": 1 << 19}
_CHUNK_GPU = 1 << 26
# Problems whose gradients of a wide layer are multiplied out together, a few rows at a time: a sketch then takes as few calls as of narrow ones.
_TOGETHER = 16
# Elements (problems x positions x tokens) that are gathered at a time for the cross term: linear in a response's length.
_GATHERED = 1 << 21
_WIDENED = 1 << 20  # elements that are in float64 at a time


@dataclass
class Uses:
    """How a forward pass used one parameter: number of linear uses, tokens (B, T) of each embedding use, number of direct uses.

    handed: whether a loss hands the parameter's gradient over itself (`head`).
    """

    outer: int = 0
    rows: list[torch.Tensor] = field(default_factory=list)
    whole: int = 0
    handed: bool = False

    def __bool__(self) -> bool:
        return bool(self.outer or self.rows or self.whole or self.handed)

    @property
    def waited_for(self) -> int:
        """Uses whose contributions come in the backward pass."""
        return self.outer + len(self.rows) + self.whole


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of norms and sums. Half precisions are accumulated in float32."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def squared(values: torch.Tensor, metric: torch.Tensor | None = None) -> float:
    """||values||^2, or in a metric of that shape; in float64, a block at a time."""
    flat = values.reshape(-1).split(_WIDENED)
    scales = [None] * len(flat) if metric is None else list(metric.reshape(-1).split(_WIDENED))
    squares = (
        part.double().square() if scale is None else part.double().square() * scale for part, scale in zip(flat, scales, strict=True)
    )
    return sum(float(square.sum()) for square in squares)


def blocks(problems: int, p: int, q: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Problems and rows of a (p, q) parameter whose gradients are multiplied out at a time."""
    most = _CHUNK.get(device.type, _CHUNK_GPU)
    together = min(problems, max(_TOGETHER, most // (p * q)))
    step = min(p, max(1, most // (together * q)))
    for first in range(0, problems, together):
        for row in range(0, p, step):
            yield slice(first, min(first + together, problems)), slice(row, min(row + step, p))


def at_tokens(left: torch.Tensor, right: torch.Tensor, places: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Rows tokens (B, S) of the gradients of B problems: sum_t left[t,tokens[b,s]] right[t] over problem b's t, shape (B, S, q).

    left (N, p), right (N, q): of all problems. places (B, T): the t of each, -1 where there is none. Rows that left does not have are zero: a
    head is cut to the teacher's vocabulary.
    """
    (batch, count), p = tokens.shape, left.shape[-1]
    columns, flat = tokens.clamp(max=p - 1)[:, None], left.reshape(-1)
    found = torch.zeros(batch, count, right.shape[-1], dtype=wide(right.dtype), device=right.device)
    for part in places.split(max(1, _GATHERED // max(1, batch * count)), 1):
        rows = part.clamp(min=0)
        taken = flat.take(rows[..., None] * p + columns).to(found.dtype).masked_fill_((part < 0)[..., None], 0)
        found.baddbmm_(taken.mT, right[rows].to(found.dtype))
    return found.masked_fill_((tokens >= p)[..., None], 0)


class Fold:
    """Receives the contributions of one backward pass. Gives norms_squared (B,) float64, sketches (B, m), and totals by parameter id.

    uses: of each counted parameter, complete once the forward pass is. Each kind of use is folded once all its contributions have come in.
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
        self._squares = torch.zeros(batch, dtype=torch.float64, device=some.device)
        self._norms: dict[tuple[int, int], list[torch.Tensor]] = {}  # of parts of gradients, by first and last problem; not yet in _squares
        self._sketches = sketch.buffer(batch, some.dtype, some.device) if sketch else None
        self.uses = uses
        self.totals = totals
        self._sketch = sketch
        self._metric = metric
        self._outer: dict[int, list[Outer]] = {key: [] for key in uses}
        self._rows: dict[int, list[tuple[int, Rows]]] = {key: [] for key in uses}
        self._whole: dict[int, list[torch.Tensor]] = {key: [] for key in uses}
        # For a parameter that is embedding and head: the head's gradient (B, S, q) at the tokens of each embedding use.
        self.head_at_tokens: dict[int, list[torch.Tensor]] = {}
        self._arrived = dict.fromkeys(uses, 0)
        self._made: torch.Tensor | None = None
        self._ones = torch.ones(batch, dtype=some.dtype, device=some.device)

    @property
    def norms_squared(self) -> torch.Tensor:
        """(B,) float64, of what has been folded."""
        for (start, stop), norms in self._norms.items():
            self._squares[start:stop] += torch.stack(norms).double().square().sum(0)
        self._norms.clear()
        return self._squares

    def add_squares(self, problems: slice, squares: torch.Tensor) -> None:
        """Add to the squared norms of some problems."""
        self._squares[problems] += squares

    def sketches(self) -> torch.Tensor:
        """The sketches (B, m); m = 0 without a sketch."""
        if self._sketch is None or self._sketches is None:
            return self._squares.new_zeros(len(self._squares), 0)
        return self._sketch.result(self._sketches)

    def unfinished(self) -> list[int]:
        """Ids of parameters with uses that have not come in."""
        return [key for key, count in self._arrived.items() if count != self.uses[key].waited_for]

    def receive(self, parameter: nn.Parameter, use: int, contribution: Contribution) -> None:
        """Take the contribution of one use. use: number of the embedding use of a parameter, in the order of the forward pass."""
        key = id(parameter)
        self._arrived[key] += 1
        if isinstance(contribution, Outer):
            self._outer[key].append(contribution)
            if len(self._outer[key]) == self.uses[key].outer:
                self._fold_outer(parameter, self._outer.pop(key))
        elif isinstance(contribution, Rows):
            self._rows[key].append((use, contribution))
            if len(self._rows[key]) == len(self.uses[key].rows):
                self._fold_rows(parameter, [rows for _, rows in self._rows[key]])
        else:
            self._whole[key].append(contribution.values.to(wide(contribution.values.dtype)))
            if len(self._whole[key]) == self.uses[key].whole:
                parts = self._whole.pop(key)
                self.fold_part(parameter, slice(0, len(parts[0])), parts[0] if len(parts) == 1 else torch.stack(parts).sum(0))
        if self._arrived[key] == self.uses[key].waited_for and key in self.head_at_tokens:
            self._add_cross_term(key)

    def gram_pays(self, lengths: list[int], p: int, q: int) -> bool:
        """Whether problems of so many positions each need not be multiplied out: only norms are asked for, and the T x T form costs less."""
        if self._sketch is not None or self._metric is not None:
            return False
        return sum(length * length for length in lengths) * (p + q) < _ELEMENT_COST * len(lengths) * p * q

    def _fold_outer(self, parameter: nn.Parameter, uses: list[Outer]) -> None:
        key = id(parameter)
        left, right = _joined([use.left for use in uses]), _joined([use.right for use in uses])
        if self.uses[key].rows:
            places = torch.arange(len(left) * left.shape[1], device=left.device).view(len(left), -1)
            self.head_at_tokens[key] = [
                at_tokens(left.flatten(0, 1), right.flatten(0, 1), places, tokens) for tokens in self.uses[key].rows
            ]
        (batch, length, p), q = left.shape, right.shape[-1]
        if self.gram_pays([length], p, q):
            left_gram, right_gram = (torch.bmm(f, f.mT) for f in (left.to(wide(left.dtype)), right.to(wide(right.dtype))))
            self.add_squares(slice(0, batch), (left_gram * right_gram).sum((1, 2)).clamp(min=0))
            self.totals[key] += left.reshape(-1, p).T @ right.reshape(-1, q)
            return
        for problems, rows in blocks(batch, p, q, left.device):
            room = self.room(problems.stop - problems.start, rows.stop - rows.start, q, dtype=left.dtype)
            torch.bmm(left[problems, :, rows].mT, right[problems], out=room)
            self.fold_part(parameter, problems, room.flatten(1), rows.start * q)

    def room(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Memory for gradients multiplied out, used again and again: new memory costs a third of the product."""
        if self._made is None or self._made.numel() < math.prod(shape) or self._made.dtype != dtype:
            self._made = torch.empty(math.prod(shape), dtype=dtype, device=self._squares.device)
        return self._made[: math.prod(shape)].view(shape)

    def fold_part(self, parameter: nn.Parameter, problems: slice, gradients: torch.Tensor, first: int = 0) -> None:
        """Fold gradients (problems, n) of some problems: of one parameter, the n coordinates from `first` on."""
        gradients = gradients.to(wide(gradients.dtype))
        span = slice(first, first + gradients.shape[1])
        scaled = gradients if self._metric is None else gradients * self._metric[id(parameter)].reshape(-1)[span].sqrt()
        # As few calls as can be: parts are small, and a call costs as much as thousands of elements.
        self._norms.setdefault((problems.start, problems.stop), []).append(torch.linalg.vector_norm(scaled, dim=1))
        # A product with ones takes half the time of a sum over the first dimension.
        self.totals[id(parameter)].view(-1)[span].addmv_(gradients.T, self._ones[: len(gradients)])
        if self._sketch is not None and self._sketches is not None:
            self._sketch.add(self._sketches[problems], parameter, gradients, first)

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
        self._squares.index_add_(0, problems, squares.sum(1))
        self.totals[key].index_add_(0, touched, summed)
        if self._sketch is not None and self._sketches is not None:
            self._sketch.add_rows(self._sketches, parameter, problems, touched, summed)

    def _add_cross_term(self, key: int) -> None:
        """2 <head's gradient, embedding's gradient> = 2 sum_s <row token[s] of the head's, values[s]>; in a metric <head's, D embedding's>."""
        heads = self.head_at_tokens.pop(key)
        for use, rows in self._rows.pop(key):
            values = rows.values.to(wide(rows.values.dtype))
            if self._metric is not None:
                values = values * self._metric[key][rows.tokens]
            self._squares += 2 * (heads[use] * values).sum((1, 2))


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
