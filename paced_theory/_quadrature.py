"""Expectations under a Beta law of pass rates where no closed form is at hand."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy.special import betaln, xlog1py, xlogy

from paced_theory._checks import FloatArray, check_prior

#: The largest relative error of `expectation`, by the quadrature's own estimate; for functions smooth between breakpoints it is about 1e-12.
RELATIVE_ERROR = 1e-9


def expectation(function: Callable[[FloatArray], FloatArray], prior: tuple[float, float], breakpoints: tuple[float, ...] = ()) -> float:
    """E[f(p)] for p ~ Beta(*prior) by double-exponential quadrature between the breakpoints, to about 1e-12 relative.

    Where its error estimate exceeds `RELATIVE_ERROR`, as for a function that jumps elsewhere, adaptive Gauss-Kronrod rules bisect towards the
    trouble instead. ValueError where these do not reach that error either.

    `function` maps an array of pass rates to an array of the same shape and may be non-smooth at 0, at 1 and at `breakpoints` only. The
    upper half is integrated in q = 1 - p, so that the density is accurate near p = 1 however small the prior's second parameter is; the
    function itself sees 1 - q rounded, which tells only where much of the law lies within 1e-16 of p = 1.
    """
    from scipy.integrate import quad, tanhsinh  # imported here: costs 0.2 s and is needed only without a closed form

    a, b = check_prior(prior)
    log_norm = betaln(a, b)

    def half(near: float, far: float, at: Callable[[FloatArray], FloatArray]) -> tuple[float, Callable[[FloatArray], FloatArray]]:
        """The integrand on the half next to an endpoint, x the distance to it, in u = x^s: the density's singularity cancels."""
        s = min(near, 1.0)

        def integrand(u: FloatArray) -> FloatArray:
            x = u ** (1.0 / s)
            return np.asarray(at(x) * np.exp(xlogy(near - s, x) + xlog1py(far - 1.0, -x) - log_norm) / s)

        return s, integrand

    def pieces(edges: set[float]) -> list[tuple[Callable[[FloatArray], FloatArray], FloatArray]]:
        """The integrand on either half, with the limits in u of its pieces."""
        cuts = sorted(edges)
        (s, low), (t, high) = half(a, b, function), half(b, a, lambda q: function(1.0 - q))
        return [
            (low, np.array([0.0, *(x for x in cuts if x <= 0.5)]) ** s),
            (high, np.array([0.0, *(1.0 - x for x in reversed(cuts) if x >= 0.5)]) ** t),
        ]

    mean = a / (a + b)
    edges = {0.5, mean, *breakpoints}
    total = error = 0.0
    for integrand, limits in pieces(edges):
        result = tanhsinh(integrand, limits[:-1], limits[1:], rtol=1e-13)
        total += float(np.sum(result.integral))
        error += float(np.sum(result.error))
    if error <= RELATIVE_ERROR * abs(total):
        return total
    # An adaptive rule sees a narrow peak only if it starts beside it.
    spread = (mean * (1.0 - mean) / (a + b + 1.0)) ** 0.5
    edges |= {x for x in (mean - 8 * spread, mean + 8 * spread) if 0.0 < x < 1.0}
    goal, total, error = RELATIVE_ERROR * abs(total) / 100, 0.0, 0.0
    for integrand, limits in pieces(edges):
        for start, stop in pairwise(limits):
            value, doubt, *_ = quad(
                lambda u, f=integrand: float(f(np.asarray(u))), start, stop, epsabs=goal, epsrel=1e-11, limit=500, full_output=1
            )
            total, error = total + value, error + doubt
    if not error <= RELATIVE_ERROR * abs(total):
        raise ValueError(
            f"function must be smooth between its breakpoints, got an error of {error:.1g} in its mean {total:.6g} under Beta({a:g}, {b:g}); "
            "name the pass rates at which it jumps"
        )
    return total
