"""The matrix products with a head, in float32 whatever the dtype of states and weights (in float64 where they are).

float32 and float64 are multiplied as they are. Of half-precision weights one block of the vocabulary is widened at a time, so that
neither a logit nor a sum is rounded to half precision, and no float32 copy of the head exists. No product makes a graph.
"""

from collections.abc import Iterator

import torch

from paced_exp.losses.divergences import wide

_BLOCK = 4096  # tokens of the vocabulary whose weights are widened at a time


def _blocks(weight: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    step = weight.shape[0] if weight.element_size() >= 4 else _BLOCK
    for start in range(0, weight.shape[0], step):
        rows = slice(start, start + step)
        yield rows, wide(weight[rows])


@torch.no_grad()
def projected(states: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """states (n, H) times weight (V, H) transposed: `out` (n, V), or (n, V) at the start of a longer `out`."""
    states, found = wide(states), out[: len(states)]
    for rows, part in _blocks(weight):
        torch.mm(states, part.T, out=found[:, rows])
    return found


@torch.no_grad()
def projected_back(gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """gradient (n, V) times weight (V, H): (n, H)."""
    found = gradient.new_zeros(gradient.shape[0], weight.shape[1])
    for rows, part in _blocks(weight):
        found.addmm_(gradient[:, rows], part)
    return found


@torch.no_grad()
def add_outer(total: torch.Tensor, gradient: torch.Tensor, states: torch.Tensor) -> None:
    """Add gradient (n, V) transposed times states (n, H) to `total` (V, H)."""
    total.addmm_(gradient.T, wide(states))
