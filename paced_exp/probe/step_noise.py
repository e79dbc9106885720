"""The effect of a weight on the noise of a training step, from the noise and pass rates that a probe measured: PACED eq. 33 on data.

The paper's ratio is R = E[w^2 n2] / (E[w]^2 E[n2]), with n2 = tr Cov of the gradients at a pass rate. It is the noise of a step with weights of mean
one over the noise of an unweighted step with as many problems. The paper assumes n2 = (p(1-p))^gamma; here, n2 is measured in the bins. R does not
include the step's mean, which the weights also change.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from paced_theory.convergence import variance_ratio_of
from paced_theory.kernels import BetaKernel


@dataclass(frozen=True)
class StepNoise:
    """ratio: R of eq. 33, with problems of weight zero in the batch. ratio_passed_over: the same if batches are filled with problems of positive
    weight, with mean one over those: R times `kept`, the share of problems of positive weight. exponents: (u, v) of noise ~ p^u (1-p)^v, from
    least squares of its logarithm at posterior pass rates, with equal weight for each bin (None with fewer than four bins).
    """

    ratio: float
    ratio_passed_over: float
    kept: float
    exponents: tuple[float, float] | None


def noise_of(panel: dict[str, Any]) -> np.ndarray:
    """tr Cov of every bin (m,): the unbiased signal and noise sum to mean ||g||^2 exactly, so it is mean ||g||^2 / (1 + SNR^2)."""
    m, squared = (np.array([row[key] for row in panel["bins"]], dtype=float) for key in ("mean_squared_norm", "snr_squared"))
    return np.asarray(m / (1 + squared))


def step_noise(panel: dict[str, Any], alpha: float = 1.0, beta: float = 1.0) -> StepNoise:
    """R of the plug-in weight p-hat^alpha (1 - p-hat)^beta at the law of p-hat with which problems fell into the bins.

    panel: a probe's record or one of its steps. The weight of a bin is that of its mean p-hat, so R is exact if every k has its own bin. Raises
    ValueError if no bin has a positive weight.
    """
    rows, noise = panel["bins"], noise_of(panel)
    p, offered, rates = (np.array([row[key] for row in rows], dtype=float) for key in ("pass_rate", "offered", "posterior_pass_rate"))
    weight = np.asarray(BetaKernel(alpha, beta)(p))
    ratio, kept = variance_ratio_of(weight, noise, offered), float(offered[weight > 0].sum() / offered.sum())
    exponents = None
    if len(rows) >= 4:
        design = np.stack([np.ones_like(rates), np.log(rates), np.log1p(-rates)], axis=1)
        _, u, v = np.linalg.lstsq(design, np.log(noise), rcond=None)[0]
        exponents = (float(u), float(v))
    return StepNoise(ratio, ratio * kept, kept, exponents)
