"""Intervals for means over problems: by the bootstrap, or without resampling if too few problems differ.

The bootstrap resamples problems, not samples, so an interval says what another draw of problems would give. Resampling fails if problems hardly
differ: if six problems all fail, every resample fails, and the percentiles are [0, 0]. If fewer than `ENOUGH` problems differ from the commonest
value, Gaffke's interval is used instead (`bounded_interval`).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm
from scipy.stats import t as t_law

CONFIDENCE = 0.95
ENOUGH = 10  # with so many problems that differ from the commonest value, bootstrap intervals cover (tests/exp/test_intervals.py)
_CELLS = 1 << 22  # resampling counts held at a time


class Interval(NamedTuple):
    """An estimate with its 95 % interval. low and high are None for a single problem, and for equal values without bounds."""

    value: float
    low: float | None
    high: float | None


def few_differ(values: np.ndarray) -> bool:
    """Whether fewer than `ENOUGH` of the values (P,) differ from the commonest one."""
    return len(values) - int(np.unique(values, return_counts=True)[1].max()) < ENOUGH


def bounded_interval(values: np.ndarray, low: float, high: float, *, replicates: int, rng: np.random.Generator) -> tuple[float, float]:
    """A 95 % interval for the mean of a distribution on [low, high] of any shape, from values (P,).

    The ends are the quantiles at 0.025 and 0.975 of sum_i D_i x_i + D_{P+1} e over (D_1, ..., D_{P+1}) uniform on the simplex, with e = low and
    e = high (Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable", Mathematical
    Methods of Statistics 2005; no distribution is known for which it does not cover). For values 0 and 1 it is Clopper and Pearson's interval;
    for P zeros it is [0, 1 - 0.025^(1/P)]. replicates: draws from the simplex.

    >>> low, high = bounded_interval(np.zeros(6), 0, 1, replicates=100_000, rng=np.random.default_rng(0))
    >>> low, round(high, 2)
    (0.0, 0.46)
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    shares, extra = rng.gamma(counts, size=(replicates, len(distinct))), rng.exponential(size=replicates)
    total = shares.sum(axis=1) + extra
    tail = (1 - CONFIDENCE) / 2
    ends = [float(np.quantile((shares @ distinct + extra * end) / total, at)) for end, at in ((low, tail), (high, 1 - tail))]
    return min(ends[0], float(np.mean(values))), max(ends[1], float(np.mean(values)))


def intervals(
    values: np.ndarray, *, replicates: int, rng: np.random.Generator, bounds: Sequence[tuple[float, float] | None] | None = None
) -> list[Interval]:
    """Means of the columns of `values` (P, M) over the P problems, with percentile bootstrap intervals.

    A draw takes P problems with replacement, the same for every column. If a column holds paired differences, this is the paired bootstrap. With
    few problems percentile intervals are too narrow, so the tail probability is Phi(-sqrt(P/(P-1)) t_{P-1, 0.975}) instead of 0.025 (Hesterberg,
    The American Statistician 2015, section 5.4).

    bounds: for each column, the least and the greatest possible value, or None. A column with bounds gets `bounded_interval` if few values
    differ. A column without bounds gets no interval if all values are equal.
    """
    values = np.asarray(values, dtype=np.float64)
    count = len(values)
    means = values.mean(axis=0)
    if count < 2:
        return [Interval(float(mean), None, None) for mean in means]
    # Resamples are centred, so that rounding does not give equal values an interval.
    centred = values - means
    draws = []
    left = replicates
    while left > 0:
        part = min(left, max(1, _CELLS // count))
        draws.append(rng.multinomial(count, np.full(count, 1 / count), size=part) @ centred / count)
        left -= part
    tail = float(norm.cdf(-math.sqrt(count / (count - 1)) * t_law.ppf((1 + CONFIDENCE) / 2, count - 1)))
    low, high = np.quantile(np.concatenate(draws), [tail, 1 - tail], axis=0)
    found = [Interval(float(mean), float(mean + a), float(mean + b)) for mean, a, b in zip(means, low, high, strict=True)]
    for column, ends in enumerate([None] * values.shape[1] if bounds is None else bounds):
        if ends is not None and few_differ(values[:, column]):
            found[column] = Interval(float(means[column]), *bounded_interval(values[:, column], *ends, replicates=replicates, rng=rng))
        elif np.ptp(values[:, column]) == 0:
            found[column] = Interval(float(means[column]), None, None)
    return found
