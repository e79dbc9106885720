"""Ratios of gamma and beta functions without the cancellation that differences of their logarithms suffer, and Bernstein polynomials."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from paced_theory._checks import FloatArray

#: From here on Stirling's series with three terms is exact to 1e-15.
_LARGE = 50.0


def log_rising(x: ArrayLike, d: ArrayLike) -> FloatArray:
    """log Gamma(x + d) - log Gamma(x) for x > 0, x + d > 0, to about 1e-13 absolute plus 1e-15 relative; arguments broadcast.

    Where both are large, the difference of Stirling's series is taken term by term:
    (x + d - 1/2) log(1 + d/x) + d log x - d + S(x + d) - S(x), S(z) = 1/(12 z) - 1/(360 z^3) + 1/(1260 z^5).
    """
    low, shift = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(d, dtype=np.float64))
    high = low + shift
    # Outside the series' range no cancellation is possible: the smaller argument's logarithm is of order 100.
    large = np.minimum(low, high) >= _LARGE
    z, s = np.where(large, low, _LARGE), np.where(large, shift, 0.0)
    series = (z + s - 0.5) * np.log1p(s / z) + s * np.log(z) - s + _stirling(z + s) - _stirling(z)
    return np.asarray(np.where(large, series, gammaln(high) - gammaln(low)))


def _stirling(z: FloatArray) -> FloatArray:
    inverse = 1.0 / z
    square = inverse * inverse
    return np.asarray(inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square / 1260.0)))


def log_beta_ratio(a: ArrayLike, b: ArrayLike, d_a: ArrayLike, d_b: ArrayLike) -> FloatArray:
    """log B(a + d_a, b + d_b) - log B(a, b), all four resulting arguments > 0: the log of E[p^d_a (1-p)^d_b] for p ~ Beta(a, b)."""
    total, change = np.add(a, b), np.add(d_a, d_b)
    return np.asarray(log_rising(a, d_a) + log_rising(b, d_b) - log_rising(total, change))


def bernstein(coefficients: FloatArray, p: FloatArray) -> FloatArray:
    """sum_k c_k C(n, k) p^k (1-p)^(n-k), n = len(c) - 1, same shape as `p`, by de Casteljau's convex combinations: no overflow.

    The expectation of c_k when k is binomial(n, p). No checks: for use inside the package.
    """
    level = np.broadcast_to(coefficients, (*p.shape, coefficients.size))
    left, right = (1.0 - p)[..., None], p[..., None]
    for _ in range(coefficients.size - 1):
        level = left * level[..., :-1] + right * level[..., 1:]
    return np.asarray(level[..., 0])
