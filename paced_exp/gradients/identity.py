"""Where the backward pass is read: an identity on a layer's output."""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable


class Identity(torch.autograd.Function):
    """The identity on a layer's output. Its backward pass gives the gradient there and the layer's input to `receive`.

    The input is saved in autograd's way, so activation checkpointing drops and recomputes it too. The anchor requires a gradient, so that the
    output of a first or frozen layer does too.
    """

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, anchor: torch.Tensor, x: torch.Tensor, receive: Callable[..., None]) -> torch.Tensor:
        ctx.receive = receive
        ctx.save_for_backward(x)
        return output.detach()  # an alias that the model may write into, as it may into the output itself

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        ctx.receive(x, gradient)
        return gradient, None, None, None
