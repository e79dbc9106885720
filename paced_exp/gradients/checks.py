"""Whether per-problem gradients can be right: checks of an engine's first batches, against autograd and between rows."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from paced_exp.core.errors import UserError
from paced_exp.gradients.fold import squared

# Allowed difference between the sum of the per-problem gradients and autograd's, relative to the norm of the whole gradient: only rounding.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
_HALF_TOLERANCE = 5e-2
# Scaling a row's loss by a power of two changes exponents alone; what differs beyond this, relative to the row's own gradient or (times
# _NOISE) to the largest of the batch, came from another row. A GPU's sums in changing order are far below.
_ROW_TOLERANCE = 1e-4
_NOISE = 1e-6


def other_sums(
    parameters: Mapping[int, nn.Parameter], totals: Mapping[int, torch.Tensor], gradients: Sequence[torch.Tensor | None]
) -> int | None:
    """The key of the first parameter whose total over problems is not autograd's gradient; None if there is none. gradients: in the parameters' order."""
    size = math.sqrt(sum(squared(gradient) for gradient in gradients if gradient is not None))
    for (key, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        difference = totals[key] if gradient is None else totals[key] - gradient
        if math.sqrt(squared(difference)) > _TOLERANCE.get(parameter.dtype, _HALF_TOLERANCE) * size:
            return key
    return None


def check_rows_alone(scaled: list[torch.Tensor], found: list[torch.Tensor], scale: torch.Tensor) -> None:
    """Raise `UserError` unless scaling a row's loss by a power of two scaled the gradient of that row, and of no other, at every hooked layer.

    scaled, found: gradient norms by row (B,) at each layer, with and without `scale` (B,).
    """
    for with_scale, without in zip(scaled, found, strict=True):
        expected = without * scale.to(without.dtype)
        off = (with_scale - expected).abs() > _ROW_TOLERANCE * (expected + _NOISE * expected.max())
        if bool(off.any()):
            raise UserError(
                f"the gradient of row {int(off.nonzero()[0])} of a batch changes with the losses of other rows, so a problem has no gradient of "
                "its own; use a model and a loss that treat each row alone (no batch norm, balancing loss or routing across rows)"
            )
