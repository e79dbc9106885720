"""A seeded random projection of gradients that keeps inner products in expectation, and reads the gradient only once."""

from itertools import pairwise
from typing import Protocol

import torch
from torch import nn

from paced_exp.core.errors import UserError


class Projection(Protocol):
    """A linear map from a gradient to a few numbers, which the fold applies to each problem's gradient: a `Sketch`, or `InnerProducts`.

    kept: the dtype in which `GradientSums` stores the results.
    """

    kept: torch.dtype

    def buffer(self, batch: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Zeros with a row for each problem, to add to."""
        ...

    def result(self, buffer: torch.Tensor) -> torch.Tensor:
        """The numbers (batch, m) in a buffer."""
        ...

    def add(self, buffer: torch.Tensor, parameter: nn.Parameter, gradients: torch.Tensor, first: int = 0) -> None:
        """Add the images of `gradients` (batch, n): of one parameter, for each problem, the n coordinates from `first` on."""
        ...

    def add_rows(
        self, buffer: torch.Tensor, parameter: nn.Parameter, problems: torch.Tensor, rows: torch.Tensor, values: torch.Tensor
    ) -> None:
        """As `add`, for gradients that are zero except in some rows: `values[n]` is row `rows[n]` of the parameter in the gradient of `problems[n]`."""
        ...


class Sketch:
    """A count sketch: coordinate j is added with its own random sign into one of `size` buckets.

    Inner products are unbiased, E <Sx, Sy> = <x, y>, with variance at most (||x||^2 ||y||^2 + <x,y>^2) / size (Charikar, Chen, Farach-Colton
    2002; Weinberger et al. 2009). The bound needs independent signs, and that two coordinates share a bucket with probability at most 1/size.
    Here, a parameter is cut into blocks of at most `size` neighbouring coordinates, and each block is laid over the buckets in order, from a
    random start. Two coordinates of one block never share a bucket, and two of different blocks do with probability exactly 1/size. So a block
    is added as one or two runs of memory, while independent buckets would scatter every coordinate.

    Signs and starts depend on `seed` and on the model's parameters in their order. Equal seeds give equal sketches on any device.
    Raises `UserError` for a size below 1.
    """

    kept = torch.float32

    def __init__(self, model: nn.Module, size: int, seed: int) -> None:
        if size < 1:
            raise UserError(f"sketch size {size} must be at least 1")
        self.size = size
        self._signs: dict[int, torch.Tensor] = {}
        self._starts: dict[int, torch.Tensor] = {}
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            signs = torch.randint(2, (parameter.numel(),), generator=generator, dtype=torch.int8) * 2 - 1
            self._signs[id(parameter)] = signs.to(parameter.device)
            self._starts[id(parameter)] = torch.randint(size, (-(-parameter.numel() // size),), generator=generator)

    def buffer(self, batch: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Zeros (batch, 2 size) to add to. Every bucket occurs twice, so that a block that passes the last bucket is still one run of memory."""
        return torch.zeros(batch, 2 * self.size, dtype=dtype, device=device)

    def result(self, buffer: torch.Tensor) -> torch.Tensor:
        """The sketches (batch, size) in a buffer."""
        return buffer[:, : self.size] + buffer[:, self.size :]

    def add(self, buffer: torch.Tensor, parameter: nn.Parameter, gradients: torch.Tensor, first: int = 0) -> None:
        """Add the sketch of `gradients` (batch, n): of one parameter, for each problem, the n coordinates from `first` on."""
        size, last = self.size, first + gradients.shape[1]
        blocks = range(first // size, -(-last // size))
        edges = [first, *(block * size for block in blocks[1:]), last]
        lengths = [high - low for low, high in pairwise(edges)]
        starts = self._starts[id(parameter)][blocks.start : blocks.stop].tolist()
        signs = self._signs[id(parameter)][first:last].to(gradients.dtype)
        # As few calls a block as can be: at a block's size they cost as much as its arithmetic.
        for block, start, low, signed, part in zip(
            blocks, starts, edges[:-1], signs.split(lengths), gradients.split(lengths, 1), strict=True
        ):
            buffer.narrow(1, start + low - block * size, len(signed)).addcmul_(part, signed)

    def add_rows(
        self, buffer: torch.Tensor, parameter: nn.Parameter, problems: torch.Tensor, rows: torch.Tensor, values: torch.Tensor
    ) -> None:
        """Add the sketch of gradients that are zero except in a few rows of a matrix parameter.

        values (N, parameter's columns): row `rows[n]` of the parameter in the gradient of problem `problems[n]`.
        """
        columns = torch.arange(values.shape[1], device=values.device)
        coordinates = rows[:, None] * values.shape[1] + columns
        starts = self._starts[id(parameter)].to(values.device)
        buckets = coordinates % self.size + starts[coordinates // self.size]
        signed = values * self._signs[id(parameter)][coordinates].to(values.dtype)
        buffer.view(-1).index_add_(0, (problems[:, None] * buffer.shape[1] + buckets).flatten(), signed.flatten())
