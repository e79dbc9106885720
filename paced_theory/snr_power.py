"""How many problems a bin needs, and over how many directions its noise spreads."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from paced_theory._checks import check_fraction, check_positive, check_real
from paced_theory._gram import check_noise, checked_gram


def problems_needed(snr_squared: float, *, effective_rank: float, level: float = 0.025, power: float = 0.8) -> int:
    """How many problems a bin needs to tell SNR^2 from zero (one-sided test at `level`, with probability `power`).

    Without signal the standard error is sqrt(2 / effective_rank) / n, with effective_rank = (tr Cov)^2 / tr(Cov^2) >= 1; with it the
    first-order term 2 sqrt(SNR^2 / (effective_rank n)), that of isotropic noise of this rank, adds in squares. Ours.
    Raises ValueError for snr_squared <= 0, effective_rank < 1, both also if infinite, or level and power outside (0, 1).
    """
    check_positive("snr_squared", snr_squared)
    if check_real("effective_rank", effective_rank) < 1:
        raise ValueError(f"effective_rank must be at least 1, got {effective_rank}")
    z_level, z_power = -float(ndtri(check_fraction("level", level))), float(ndtri(check_fraction("power", power)))

    def enough(n: int) -> bool:
        null = math.sqrt(2 / effective_rank) / n
        alternative = math.sqrt(null**2 + 4 * snr_squared / (effective_rank * n))
        return snr_squared >= z_level * null + z_power * alternative

    high = 2
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def effective_rank(gram: ArrayLike) -> float:
    """(tr Cov)^2 / tr(Cov^2) of the gradients behind a Gram matrix: how many directions the noise spreads over, at least 1.

    tr(Cov^2) by the mean of squared centred inner products of distinct pairs. Centring adds (tr Cov)^2 / n^2 to it, so the estimate stays
    below n^2 whatever the rank: read it as a lower bound where it comes near that.
    """
    matrix = checked_gram(gram)
    n = len(matrix)
    if n < 3:
        raise ValueError(f"an effective rank needs at least 3 gradients, got {n}")
    centred = matrix - matrix.mean(axis=0) - matrix.mean(axis=1)[:, None] + matrix.mean()
    trace = float(np.trace(centred)) / (n - 1)
    check_noise(trace, float(np.trace(matrix)) / n)
    off = centred - np.diag(np.diag(centred))
    return max(1.0, trace**2 / (float((off**2).sum()) / (n * (n - 1))))
