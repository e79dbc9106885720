"""Weight-only quantisation: each group of a row's weights is rounded to integers of `bits` bits times the group's own scale.

    scale = max |w| / (2^(bits-1) - 1/2),   code = round(w / scale), at least -2^(bits-1) and at most 2^(bits-1) - 1

This is symmetric round-to-nearest, as torchao does it (`IntxWeightOnlyConfig`; a test compares where torchao is installed). torchao itself is not
used: its int4 kernels ask for a GPU package, and on a CPU it would only multiply with the same numbers.
"""

import torch


def quantised(weight: torch.Tensor, bits: int, group: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The codes (p, q) int8 and the scales (p, q / group) float32 of a weight (p, q). group: weights that share a scale; None for a row.

    Raises `ValueError` if the group does not divide a row.
    """
    p, q = weight.shape
    size = q if group is None else group
    if q % size:
        raise ValueError(f"group must divide the {q} weights of a row, got {size}")
    rows = weight.float().reshape(p, q // size, size)
    scale = rows.abs().amax(-1) / (2 ** (bits - 1) - 0.5)
    safe = torch.where(scale > 0, scale, 1.0)  # a group of zeros keeps zeros
    codes = (rows / safe[..., None]).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return codes.to(torch.int8).reshape(p, q), scale


def dequantised(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The weights (p, q) float32 that codes (p, q) and scales (p, groups) stand for."""
    p, q = codes.shape
    return (codes.float().reshape(p, scale.shape[1], -1) * scale[..., None]).reshape(p, q)
