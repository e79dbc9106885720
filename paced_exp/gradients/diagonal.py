"""The diagonal of the Fisher information, from exact gradients of each problem."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from paced_exp.gradients.engine import PerProblemGradients


class SquaredGradients(PerProblemGradients):
    """Sums |g_i|^p, elementwise and by parameter, over problems that are given one at a time. g_i: the gradient of problem i's loss.

    With one problem a pass, the engine's sum is that problem's gradient; a tied parameter's uses are joined before the power is taken.
    """

    def __init__(self, model: torch.nn.Module, power: float = 2.0) -> None:
        super().__init__(model)
        self._power = power
        self._powers = {key: torch.zeros(p.shape, dtype=torch.float64, device=p.device) for key, p in self._parameters.items()}

    def add(self, loss: Callable[[], torch.Tensor]) -> None:
        """Add a problem: `loss` makes one forward pass and returns its loss, of shape (1,). Raises `UserError` as `accumulate` does."""
        self.accumulate(1, loss)
        for key, total in self._totals.items():
            self._powers[key] += total.double().abs() ** self._power
            total.zero_()

    def powers(self) -> dict[str, torch.Tensor]:
        """The sums by parameter name, in float64."""
        return {self._names[key]: total for key, total in self._powers.items()}


def mean_powers(model: Any, losses: Sequence[Callable[[], torch.Tensor]], power: float = 2.0) -> dict[str, torch.Tensor]:
    """The mean over problems of |g_i|^p, by parameter name. For p = 2 and losses -log pi(y_i|x_i) with y_i ~ pi: the Fisher's diagonal."""
    engine = SquaredGradients(model, power)
    for loss in losses:
        engine.add(loss)
    return {name: total / len(losses) for name, total in engine.powers().items()}
