"""Intervals and p-values of differences over seeds and problems, and Holm's method. The rules are in docs/protocol.md.

Model of a difference D[s, i] (seed s, problem i): D = mu + seed effect + problem effect + interaction, all random and independent (two-way
crossed random effects). Seeds and problems are both samples, so both count.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t as t_law

CONFIDENCE = 0.95
POWER = 0.8  # of the effect that a comparison is said to see
_FAR = 1e6  # a ratio beyond this is called unbounded


class Estimate(NamedTuple):
    """A mean with its standard error and degrees of freedom."""

    value: float
    error: float
    freedom: float

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.value - self._half

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.value + self._half

    @property
    def _half(self) -> float:
        return self.error * float(t_law.ppf((1 + CONFIDENCE) / 2, self.freedom)) if self.error > 0 else 0.0

    @property
    def p_greater(self) -> float:
        """One-sided p-value of "not greater than zero": small where the mean is clearly positive."""
        if self.error == 0:
            return 0.0 if self.value > 0 else 1.0
        return float(t_law.sf(self.value / self.error, self.freedom))

    @property
    def p_less(self) -> float:
        """One-sided p-value of "not less than zero"."""
        return Estimate(-self.value, self.error, self.freedom).p_greater

    def detectable(self, level: float) -> float:
        """The smallest effect that a two-sided test at `level` sees with the chance `POWER`: (t_{1 - level/2} + t_POWER) error.

        Of a study with this one's standard error and degrees of freedom (the minimal detectable effect; Bloom 1995, there for large samples).
        """
        return self.error * float(t_law.ppf(1 - level / 2, self.freedom) + t_law.ppf(POWER, self.freedom))

    def shifted(self, by: float) -> "Estimate":
        """With a constant added."""
        return Estimate(self.value + by, self.error, self.freedom)


def side(low: float, high: float) -> int:
    """1 where an interval lies above zero, -1 where below, 0 where it holds zero: then no direction is told."""
    return int(low > 0) - int(high < 0)


def crossed(strata: Sequence[np.ndarray]) -> Estimate:
    """The mean over strata of equal weight of the means of D (S, P_t), each over the same S seeds and its own P_t problems.

    V = V_seeds + V_problems - V_interaction, where V_seeds = var over seeds of the seeds' means / S, V_problems = sum_t var over problems of
    the problems' means / (P_t T^2), and each of the two contains V_interaction = sum_t var of the residuals / (S P_t T^2) once. It is
    unbiased, and is kept at least as large as either of the first two. Degrees of freedom by Satterthwaite. Raises `ValueError` for fewer than
    two seeds or two problems in a stratum.
    """
    seeds, count = len(strata[0]), len(strata)
    if seeds < 2 or any(part.ndim != 2 or len(part) != seeds or part.shape[1] < 2 for part in strata):
        raise ValueError(f"each stratum must be (S, P) with the same S >= 2 and P >= 2, got {[part.shape for part in strata]}")
    by_seed = np.mean([part.mean(axis=1) for part in strata], axis=0)
    of_seeds = float(by_seed.var(ddof=1)) / seeds
    parts = [of_seeds]
    freedoms = [seeds - 1.0]
    of_problems = of_interaction = 0.0
    for part in strata:
        size = part.shape[1]
        problem_part = float(part.mean(axis=0).var(ddof=1)) / (size * count**2)
        residual = part - part.mean(axis=0) - part.mean(axis=1, keepdims=True) + part.mean()
        interaction = float((residual**2).sum()) / ((seeds - 1) * (size - 1)) / (seeds * size * count**2)
        of_problems += problem_part
        of_interaction += interaction
        parts += [problem_part, interaction]
        freedoms += [size - 1.0, (seeds - 1.0) * (size - 1.0)]
    variance = max(of_seeds + of_problems - of_interaction, of_seeds, of_problems)
    spread = sum(part**2 / freedom for part, freedom in zip(parts, freedoms, strict=True))
    freedom = variance**2 / spread if spread > 0 else math.inf
    return Estimate(float(by_seed.mean()), math.sqrt(variance), max(1.0, freedom))


def ratio_interval(numerator: Sequence[np.ndarray], denominator: Sequence[np.ndarray]) -> tuple[float | None, float | None]:
    """Fieller's 95 % interval of mean(numerator) / mean(denominator): all r for which the mean of numerator - r denominator may be zero.

    Both: strata as of `crossed`, paired by seed and problem. An end is None where the interval has none there: the denominator is not told
    from zero, or hardly.
    """
    if not _told_from_zero(crossed(denominator)):
        return None, None

    def beyond(ratio: float) -> float:
        """Positive outside the interval."""
        found = crossed([top - ratio * bottom for top, bottom in zip(numerator, denominator, strict=True)])
        return abs(found.value) - found.error * float(t_law.ppf((1 + CONFIDENCE) / 2, found.freedom))

    centre = crossed(numerator).value / crossed(denominator).value
    return _outward(beyond, centre, -1.0), _outward(beyond, centre, 1.0)


def _told_from_zero(estimate: Estimate) -> bool:
    return estimate.low > 0 or estimate.high < 0


def _outward(beyond: Callable[[float], float], centre: float, step: float) -> float | None:
    """Where `beyond` first turns positive from the centre in the direction of `step`; the centre where it is not negative there."""
    if beyond(centre) >= 0:
        return centre
    inside = centre
    while abs(step) < _FAR:
        if beyond(centre + step) > 0:
            return float(brentq(beyond, inside, centre + step, xtol=1e-9))
        inside, step = centre + step, 2 * step
    return None


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean over seeds and its standard error over seeds; no error (None) for a single seed."""
    array = np.asarray(values, dtype=float)
    return float(array.mean()), float(array.std(ddof=1) / math.sqrt(len(array))) if len(array) > 1 else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, at most 1 (Holm 1979): rejecting those at most a keeps the chance of any false rejection at most a.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
