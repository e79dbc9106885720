"""Evaluation metrics from c of n correct samples a problem, with bootstrap intervals over problems.

mean@n is the mean over problems of c/n, an unbiased estimate of the expected accuracy of one sample. pass@k is the probability that at
least one of k samples is correct. Intervals resample problems, not samples: they say what another draw of problems would give.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln
from scipy.stats import norm
from scipy.stats import t as t_law

CONFIDENCE = 0.95
_CELLS = 1 << 22  # resampling counts held at a time


class Interval(NamedTuple):
    """An estimate with its 95 % interval; no interval (None) for a single problem."""

    value: float
    low: float | None
    high: float | None


def pass_at_k(correct: np.ndarray, samples: int, k: int) -> np.ndarray:
    """1 - C(n-c, k) / C(n, k) for each problem, unbiased for the probability that one of k samples is correct (Chen et al. 2021, eq. 1).

    correct (P,): c of n = `samples` each; 1 <= k <= n. Returns (P,) float64.

    >>> pass_at_k(np.array([0, 1, 2, 4]), 4, 2).round(6).tolist()
    [0.0, 0.5, 0.833333, 1.0]
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k must be in 1..{samples}, got {k}")
    wrong = samples - np.asarray(correct)
    if wrong.size and (wrong.min() < 0 or wrong.max() > samples):
        raise ValueError(f"correct must be in 0..{samples}, got {correct!r}")
    # C(wrong, k) / C(samples, k) as a ratio of gamma functions; zero where fewer than k samples are wrong.
    possible = wrong >= k
    w = np.where(possible, wrong, samples)
    log_ratio = gammaln(w + 1) - gammaln(w - k + 1) - gammaln(samples + 1) + gammaln(samples - k + 1)
    return np.where(possible, -np.expm1(log_ratio), 1.0)


def intervals(values: np.ndarray, *, replicates: int, rng: np.random.Generator) -> list[Interval]:
    """Means of the columns of `values` (P, M) over the P problems, with percentile bootstrap intervals; every column gets the same draws.

    A draw takes P problems with replacement. With a paired difference as a column this is the paired bootstrap. The percentiles are
    expanded so that few problems do not make intervals too narrow: tail probability Phi(-sqrt(P/(P-1)) t_{P-1, 0.975}) instead of 0.025
    (Hesterberg, The American Statistician 2015, section 5.4).
    """
    values = np.asarray(values, dtype=np.float64)
    count = len(values)
    means = values.mean(axis=0)
    if count < 2:
        return [Interval(float(mean), None, None) for mean in means]
    # Around the mean, so that a column without spread has an interval without rounding.
    centred = values - means
    draws = []
    left = replicates
    while left > 0:
        part = min(left, max(1, _CELLS // count))
        draws.append(rng.multinomial(count, np.full(count, 1 / count), size=part) @ centred / count)
        left -= part
    tail = float(norm.cdf(-math.sqrt(count / (count - 1)) * t_law.ppf((1 + CONFIDENCE) / 2, count - 1)))
    low, high = np.quantile(np.concatenate(draws), [tail, 1 - tail], axis=0)
    return [Interval(float(mean), float(mean + a), float(mean + b)) for mean, a, b in zip(means, low, high, strict=True)]
