"""What a weight does to the noise of a training step, with the noise and the law of pass rates that a probe measured: PACED eq. 33 on data.

The paper's ratio is R = E[w^2 n2] / (E[w]^2 E[n2]) with n2 = tr Cov of the gradients at a pass rate: the noise of a step of weights of mean
one over that of an unweighted step of as many problems. Its n2 is an assumption, (p(1-p))^gamma; here it is what the bins show. R says
nothing of the step's mean, which the weights change too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from paced_theory.convergence import variance_ratio_of
from paced_theory.kernels import BetaKernel


@dataclass(frozen=True)
class StepNoise:
    """ratio: R of eq. 33, problems of weight zero staying in the batch. ratio_passed_over: of batches filled with problems of positive weight,
    weights of mean one over those, against unweighted batches of all problems: R times `kept`, the share of problems of positive weight.
    exponents: (u, v) of noise ~ p^u (1-p)^v, least squares of its logarithm on posterior pass rates, bins counted alike (None: fewer than four).
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

    panel: a probe's record or one of its steps. A bin counts with its mean p-hat, so R is exact where every k has a bin of its own. Raises
    ValueError where no bin has a positive weight.
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
