"""Expectations under a Beta law of pass rates where no closed form is at hand."""

from collections.abc import Callable

import numpy as np
from scipy.special import betaln, xlog1py, xlogy

from paced_theory._checks import FloatArray, check_prior


def expectation(function: Callable[[FloatArray], FloatArray], prior: tuple[float, float], breakpoints: tuple[float, ...] = ()) -> float:
    """E[f(p)] for p ~ Beta(*prior) by double-exponential quadrature between the breakpoints, to about 1e-12 relative.

    `function` maps an array of pass rates to an array of the same shape and may be non-smooth at 0, at 1 and at `breakpoints` only. The
    upper half is integrated in q = 1 - p, so that the density is accurate near p = 1 however small the prior's second parameter is; the
    function itself sees 1 - q rounded, which tells only where much of the law lies within 1e-16 of p = 1.
    """
    from scipy.integrate import tanhsinh  # imported here: costs 0.2 s and is needed only without a closed form

    a, b = check_prior(prior)
    log_norm = betaln(a, b)

    def half(near: float, far: float, at: Callable[[FloatArray], FloatArray]) -> tuple[float, Callable[[FloatArray], FloatArray]]:
        """The integrand on the half next to an endpoint, x the distance to it, in u = x^s: the density's singularity cancels."""
        s = min(near, 1.0)

        def integrand(u: FloatArray) -> FloatArray:
            x = u ** (1.0 / s)
            return np.asarray(at(x) * np.exp(xlogy(near - s, x) + xlog1py(far - 1.0, -x) - log_norm) / s)

        return s, integrand

    edges = sorted({0.5, a / (a + b), *breakpoints})
    total = 0.0
    for (s, integrand), cuts in (
        (half(a, b, function), [x for x in edges if x <= 0.5]),
        (half(b, a, lambda q: function(1.0 - q)), [1.0 - x for x in reversed(edges) if x >= 0.5]),
    ):
        limits = np.array([0.0, *cuts]) ** s
        result = tanhsinh(integrand, limits[:-1], limits[1:], rtol=1e-13)
        total += float(np.sum(result.integral))
    return total
