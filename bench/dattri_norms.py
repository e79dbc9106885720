"""dattri-llm's per-problem gradient norms, from factors that its hooks capture in a backward pass."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from dattri_llm import HookManager, HookManagerCallback, HookManagerConfig
from dattri_llm.gradient import ops
from dattri_llm.utils.module import rms_norm_module_kwargs


class _Norms(HookManagerCallback):
    """Keeps the squared norms (B,) of the last batch: the sum over layers, each by the cheaper of dattri-llm's two exact forms."""

    def __init__(self) -> None:
        self.squares = torch.zeros(0)

    def on_step_end(self, record: Any) -> None:
        found = record.gradient
        self.squares = torch.stack([ops.grad_norm_sq(found.data[name], found.layer_types[name]) for name in found.data]).sum(0)


def norms_by_dattri(model: Any, losses: Callable[[Any, Sequence[Any]], torch.Tensor]) -> Callable[[Sequence[Any]], torch.Tensor]:
    """A function of a batch that returns the squared norm (B,) of each problem, and adds the batch's gradient up in .grad.

    losses: per-problem losses of a model and a batch. dattri-llm takes the uses of a tied parameter for parameters of their own, so norms of
    a model whose embedding is its head lack a term.
    """
    norms = {name: module for name, module in model.named_modules() if type(module).__name__.endswith("RMSNorm")}
    config = HookManagerConfig(
        linear_io=[".*"],
        layer_types=dict.fromkeys(norms, "nn.RMSNorm"),
        module_kwargs={
            name: rms_norm_module_kwargs(normalized_shape=module.weight.shape[0], eps=module.variance_epsilon)
            for name, module in norms.items()
        },
        hook_types=dict.fromkeys(norms, "linear_io"),
    )
    kept = _Norms()
    manager = HookManager(model, config=config, callbacks=[kept])

    def run(batch: Sequence[Any]) -> torch.Tensor:
        with manager.collect():
            losses(model, batch).sum().backward()
        return kept.squares

    return run
