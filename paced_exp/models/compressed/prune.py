"""Pruning: which weights of a matrix stay, by their size. Nothing is trained afterwards."""

import torch


def largest(weight: torch.Tensor, share: float) -> torch.Tensor:
    """A flag (p, q) for each weight that stays where `share` of the matrix, the smallest in absolute value, is set to zero."""
    dropped = round(share * weight.numel())
    flags = torch.ones(weight.numel(), dtype=torch.bool)
    flags[weight.detach().abs().flatten().argsort(stable=True)[:dropped]] = False
    return flags.reshape(weight.shape)


def two_of_four(weight: torch.Tensor) -> torch.Tensor:
    """A flag (p, q) for the two largest of every four neighbouring weights of a row, the pattern that sparse tensor cores read.

    Raises `ValueError` for rows that are no multiple of four.
    """
    p, q = weight.shape
    if q % 4:
        raise ValueError(f"a row must be a multiple of 4 weights, got {q}")
    fours = weight.detach().abs().reshape(p, q // 4, 4)
    flags = torch.zeros_like(fours, dtype=torch.bool)
    flags.scatter_(-1, fours.argsort(dim=-1, descending=True, stable=True)[..., :2], True)
    return flags.reshape(p, q)
