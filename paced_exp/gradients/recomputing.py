"""Activation checkpointing of a model in evaluation mode, whose gradients must not change with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from paced_exp.core.errors import UserError


@contextmanager
def recomputing(model: Any, on: bool = True) -> Iterator[None]:
    """A forward pass within keeps each block's input alone; the backward pass, which may lie outside, computes the rest again.

    What is held is then the blocks' inputs and the activations of one block, both linear in a response's length. Dropout stays as it was: a
    block is told that it trains, for that is when transformers recomputes it, but none of its layers is. Raises `UserError` for a model
    that cannot.
    """
    if not on:
        yield
        return
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise UserError(f"`checkpointing` is not there for a {type(model).__name__}; leave it out")
    blocks = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    before, already = [(block, block.training) for block in blocks], model.is_gradient_checkpointing
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        for block in blocks:
            block.training = True
        yield
    finally:
        for block, training in before:
            block.training = training
        if not already:
            model.gradient_checkpointing_disable()
