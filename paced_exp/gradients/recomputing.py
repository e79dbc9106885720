"""Activation checkpointing of a model in evaluation mode, whose gradients must not change with it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from paced_exp.core.errors import UserError


@contextmanager
def recomputing(model: Any, on: bool = True) -> Iterator[None]:
    """A forward pass within keeps each block's input alone; the backward pass, which may lie outside, computes the rest again.

    What is held is then the blocks' inputs and the activations of one block, both linear in a response's length. Dropout stays as it was: a
    block is told that it trains, for that is when transformers recomputes it, but not while it computes. Raises `UserError` for a model that
    cannot.
    """
    if not on:
        yield
        return
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise UserError(f"`checkpointing` is not there for a {type(model).__name__}; leave it out")
    blocks = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    already = model.is_gradient_checkpointing
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    before: list[tuple[Any, bool, Any]] = [(block, block.training, block._gradient_checkpointing_func) for block in blocks]
    try:
        for block, training, recomputed in before:
            block._gradient_checkpointing_func = partial(_computed, block, training, recomputed)
            block.training = True
        yield
    finally:
        for block, training, recomputed in before:
            block.training, block._gradient_checkpointing_func = training, recomputed
        if not already:
            model.gradient_checkpointing_disable()


def _computed(block: Any, training: bool, recomputed: Callable[..., Any], forward: Callable[..., Any], *arguments: Any) -> Any:
    """What `recomputed` makes of the block's `forward`, which is called with the block in its own mode both times."""

    def in_own_mode(*given: Any) -> Any:
        told, block.training = block.training, training
        try:
            return forward(*given)
        finally:
            block.training = told

    return recomputed(in_own_mode, *arguments)
