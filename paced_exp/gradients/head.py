"""A head's gradient of each problem, from a loss that computes it a chunk of tokens at a time: never batch x T x V, never batch x V x H.

With W the head's weight (V, H), h_t the hidden state that it reads at a token t of problem i, and r_t (V,) the gradient of the losses in W h_t
(for forward KL, the student's less the teacher's probabilities, over the problem's number of tokens):

    G_i = sum_t r_t (x) h_t                                 gradient, V x H
    ||G_i||^2 = sum_{t,s} <r_t, r_s> <h_t, h_s>             from two T x T Gram matrices, T^2 (V + H) multiplications
              = sum over blocks of rows of ||R_i^T H_i||^2  multiplied out, a few rows of the vocabulary at a time

A chunk holds all logits of its problems, so either is exact; the cheaper is taken (`fold`). Sketches and inner products need the second. A
problem of more tokens than a chunk has its G_i added up in one tensor of the head's size.

For a tied embedding, whose gradient E_i is values[s] in the row of token[s], <G_i, E_i> = sum_s <row token[s] of G_i, values[s]>. These rows of
G_i are kept, S x H a problem, as large as one layer's activations.
"""

from collections.abc import Sequence

import torch
from torch import nn

from paced_exp.gradients.fold import Fold, at_tokens, blocks

_PADDED = 16  # problems that are padded to the longest of them for the rows of their tokens
Part = tuple[int, slice, bool]  # a problem's number, its tokens within the chunk, and whether they are its last


class HeadFold:
    """Folds what a loss hands over of a linear head in one batch. weight, bias: those that count."""

    def __init__(self, fold: Fold, weight: nn.Parameter | None, bias: nn.Parameter | None) -> None:
        self._fold = fold
        self._weight = weight
        self._bias = bias
        self._partial: dict[int, torch.Tensor] = {}  # of a problem in several chunks, by parameter
        self._open = False  # whether such a problem is under way
        for parameter in (weight, bias):
            if parameter is not None:
                fold.uses[id(parameter)].handed = True
        if weight is not None and (read := fold.uses[id(weight)].rows):
            kept = fold.totals[id(weight)]
            fold.head_at_tokens[id(weight)] = [kept.new_zeros(*tokens.shape, kept.shape[1]) for tokens in read]

    def take(self, parts: Sequence[Part], slope: torch.Tensor, states: torch.Tensor) -> None:
        """Fold a chunk: slope (n, V') is r, states (n, H) are h. V' may be less than V; the other rows of G are zero."""
        parts, whole = list(parts), not self._open and parts[-1][2]
        if self._weight is not None:
            self._keep_at_tokens(self._weight, parts, slope, states)
            if whole:
                self._fold_products(self._weight, parts, slope, states)
            else:
                self._sum_of(self._weight)[: slope.shape[1]].addmm_(slope.T, states)
        if self._bias is not None:
            for problem, place, _ in parts:
                found = slope[place].sum(0)
                if whole:
                    self._fold.fold_part(self._bias, slice(problem, problem + 1), found[None])
                else:
                    self._sum_of(self._bias)[: len(found)] += found
        if not whole:
            self._open = not parts[-1][2]
            if not self._open:
                self._fold_sums(parts[-1][0])

    def _keep_at_tokens(self, weight: nn.Parameter, parts: list[Part], slope: torch.Tensor, states: torch.Tensor) -> None:
        for first in range(0, len(parts), _PADDED):
            some = parts[first : first + _PADDED]
            starts, ends = torch.tensor([[place.start, place.stop] for _, place, _ in some]).T[..., None]
            places = starts + torch.arange(int((ends - starts).max()))
            places, problems = places.masked_fill_(places >= ends, -1).to(slope.device), slice(some[0][0], some[-1][0] + 1)
            for tokens, kept in zip(self._fold.uses[id(weight)].rows, self._fold.head_at_tokens.get(id(weight), ()), strict=True):
                kept[problems] += at_tokens(slope, states, places, tokens[problems])

    def _fold_products(self, weight: nn.Parameter, parts: list[Part], slope: torch.Tensor, states: torch.Tensor) -> None:
        p, q, first = slope.shape[1], states.shape[1], parts[0][0]
        if self._fold.gram_pays([place.stop - place.start for _, place, _ in parts], p, q):
            pairs = ((slope[place], states[place]) for _, place, _ in parts)
            squares = [((left @ left.T) * (right @ right.T)).sum().clamp(min=0) for left, right in pairs]
            self._fold.add_squares(slice(first, first + len(parts)), torch.stack(squares))
            self._fold.totals[id(weight)][:p].addmm_(slope.T, states)
            return
        for problems, rows in blocks(len(parts), p, q, slope.device):
            chosen = parts[problems]
            gradients = self._fold.room(len(chosen), rows.stop - rows.start, q, dtype=states.dtype)
            for (_, place, _), gradient in zip(chosen, gradients, strict=True):
                torch.mm(slope[place, rows].T, states[place], out=gradient)
            self._fold.fold_part(weight, slice(first + problems.start, first + problems.stop), gradients.flatten(1), rows.start * q)

    def _sum_of(self, parameter: nn.Parameter) -> torch.Tensor:
        if id(parameter) not in self._partial:
            self._partial[id(parameter)] = torch.zeros_like(self._fold.totals[id(parameter)])
        return self._partial[id(parameter)]

    def _fold_sums(self, problem: int) -> None:
        """Fold the gradients that were added up over the chunks of one problem, and make room for the next."""
        for parameter in (self._weight, self._bias):
            if parameter is not None:
                flat = self._sum_of(parameter).view(-1)
                for _, place in blocks(1, len(flat), 1, flat.device):
                    self._fold.fold_part(parameter, slice(problem, problem + 1), flat[None, place], place.start)
                flat.zero_()
