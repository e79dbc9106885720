"""Exact inner products of every problem's gradient with given directions, computed where the engine multiplies a gradient out."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn


class InnerProducts:
    """<g, d_1>, ..., <g, d_J> of a gradient g: a `Projection` for `PerProblemGradients`, which gives them as `GradientSums.sketches` (n, J).

    The engine has each layer's gradients of a few problems in memory at a time. J inner products cost J multiplications for each of their
    elements; to multiply them out costs one for each token. The uses of a tied parameter are summed, since the inner product is linear.

    directions: J mappings from the name of every counted parameter (`named_parameters`) to a tensor of its shape. They need J times the memory
    of the model.
    """

    kept = torch.float64

    def __init__(self, model: nn.Module, directions: Sequence[Mapping[str, torch.Tensor]]) -> None:
        self._count = len(directions)
        self._rows: dict[int, torch.Tensor] = {}  # (J, parameter's size) by the parameter's id
        for name, parameter in model.named_parameters():
            if name in directions[0]:
                rows = [direction[name].reshape(-1) for direction in directions]
                self._rows[id(parameter)] = torch.stack(rows).to(parameter.device)

    def buffer(self, batch: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Zeros (batch, J)."""
        return torch.zeros(batch, self._count, dtype=dtype, device=device)

    def result(self, buffer: torch.Tensor) -> torch.Tensor:
        """The inner products (batch, J): the buffer itself."""
        return buffer

    def add(self, buffer: torch.Tensor, parameter: nn.Parameter, gradients: torch.Tensor, first: int = 0) -> None:
        """Add the inner products over `gradients` (batch, n): of one parameter, for each problem, the n coordinates from `first` on."""
        buffer += gradients @ self._rows[id(parameter)][:, first : first + gradients.shape[1]].to(gradients.dtype).T

    def add_rows(
        self, buffer: torch.Tensor, parameter: nn.Parameter, problems: torch.Tensor, rows: torch.Tensor, values: torch.Tensor
    ) -> None:
        """As `add`, for gradients that are zero except in some rows: `values[n]` (columns,) is row `rows[n]` in the gradient of `problems[n]`."""
        for index, direction in enumerate(self._rows[id(parameter)].to(values.dtype)):
            products = (values * direction.view(parameter.shape)[rows]).sum(1)
            buffer[:, index].index_add_(0, problems, products)
