"""CLASSP (arXiv 2405.09637): an optimiser for continual learning. A parameter slows down as its updates add up, and small gradients are ignored."""

from collections.abc import Callable, Iterable
from typing import Any

import torch


class CLASSP(torch.optim.Optimizer):
    """theta <- theta - lr g / (eps + S)^(1/p) where g^2 > threshold, S the sum of |g|^p over the updates that the parameter took.

    With p = 2 and threshold 0 this is AdaGrad. As in AdaGrad, S includes the present gradient; a gradient below the threshold is not counted,
    since nothing was updated. So says the pseudo-code of the authors' repository (oswaldoludwig/CLASSP); its formula adds up the gradients before
    the present one, and its program compares a whole tensor with the threshold. Defaults: those of the repository's class, but for the threshold,
    which depends on the size of gradients.

    start: S before the first update, by parameter: what the updates of earlier tasks have added up; by default 0.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        lr: float,
        *,
        power: float = 1.0,
        threshold: float = 0.0,
        eps: float = 1e-5,
        start: dict[torch.nn.Parameter, torch.Tensor] | None = None,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "power": power, "threshold": threshold, "eps": eps})
        for group in self.param_groups:
            for parameter in group["params"]:
                before = torch.zeros_like(parameter) if start is None else start[parameter].to(parameter)
                self.state[parameter]["sum"] = before.clone()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update. closure: as for every optimiser of PyTorch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient, total = parameter.grad, self.state[parameter]["sum"]
                taken = gradient.square() > group["threshold"]
                total.add_(torch.where(taken, gradient.abs() ** group["power"], 0.0))
                step = gradient / (group["eps"] + total) ** (1 / group["power"])
                parameter.sub_(torch.where(taken, group["lr"] * step, 0.0))
        return loss
