"""Exact inner products of every problem's gradient with given directions, computed where the engine multiplies a gradient out."""

from collections.abc import Mapping

import torch
from torch import nn


class InnerProducts:
    """<g, d_1>, ..., <g, d_J> of a gradient g: a `Projection` for `PerProblemGradients`, which gives them as `GradientSums.sketches` (n, J).

    With a metric D, <g, D d_1>, ..., <g, D d_J> follow them, (n, 2 J). The engine has each layer's gradients of a few problems in memory at a
    time. J inner products cost J multiplications for each of their elements; to multiply them out costs one for each token. The uses of a tied
    parameter are summed, since the inner product is linear.

    directions: from the name of every counted parameter (`named_parameters`) to a tensor (J, *shape), whose row j is the parameter's part of d_j.
    They are J times as large as the model, and on the model's own device they are not copied. metric: the diagonal of D by the same names.
    """

    kept = torch.float64

    def __init__(self, model: nn.Module, directions: Mapping[str, torch.Tensor], metric: Mapping[str, torch.Tensor] | None = None) -> None:
        self._count = len(next(iter(directions.values())))
        counted = {id(parameter): (name, parameter.device) for name, parameter in model.named_parameters() if name in directions}
        # (J, parameter's size) and (parameter's size,) by the parameter's id
        self._rows = {key: directions[name].reshape(self._count, -1).to(device) for key, (name, device) in counted.items()}
        self._metric = None if metric is None else {key: metric[name].reshape(-1).to(device) for key, (name, device) in counted.items()}

    def buffer(self, batch: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Zeros (batch, J), or (batch, 2 J) with a metric."""
        return torch.zeros(batch, self._count * (1 if self._metric is None else 2), dtype=dtype, device=device)

    def result(self, buffer: torch.Tensor) -> torch.Tensor:
        """The inner products: the buffer itself."""
        return buffer

    def add(self, buffer: torch.Tensor, parameter: nn.Parameter, gradients: torch.Tensor, first: int = 0) -> None:
        """Add the inner products over `gradients` (batch, n): of one parameter, for each problem, the n coordinates from `first` on."""
        part = slice(first, first + gradients.shape[1])
        rows = self._rows[id(parameter)][:, part].to(gradients.dtype).T
        buffer[:, : self._count] += gradients @ rows
        if self._metric is not None:
            buffer[:, self._count :] += (gradients * self._metric[id(parameter)][part].to(gradients.dtype)) @ rows

    def add_rows(
        self, buffer: torch.Tensor, parameter: nn.Parameter, problems: torch.Tensor, rows: torch.Tensor, values: torch.Tensor
    ) -> None:
        """As `add`, for gradients that are zero except in some rows: `values[n]` (columns,) is row `rows[n]` in the gradient of `problems[n]`."""
        scaled = None
        if self._metric is not None:
            scaled = values * self._metric[id(parameter)].view(parameter.shape)[rows].to(values.dtype)
        for index, direction in enumerate(self._rows[id(parameter)]):
            read = direction.view(parameter.shape)[rows].to(values.dtype)
            buffer[:, index].index_add_(0, problems, (values * read).sum(1))
            if scaled is not None:
                buffer[:, self._count + index].index_add_(0, problems, (scaled * read).sum(1))
