"""Expectations under a Beta law of pass rates where no closed form is at hand."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy.special import betaln, xlog1py, xlogy

from paced_theory._checks import FloatArray, check_prior

#: How closely two quadrature rules must agree for `expectation` to believe them; for functions smooth between breakpoints they do to 1e-12.
RELATIVE_ERROR = 1e-9


def expectation(function: Callable[[FloatArray], FloatArray], prior: tuple[float, float], breakpoints: tuple[float, ...] = ()) -> float:
    """E[f(p)] for p ~ Beta(*prior) by double-exponential quadrature between the breakpoints, to about 1e-12 relative.

    The result agrees within `RELATIVE_ERROR` with that of an adaptive Gauss-Kronrod rule; where it does not, as for a function that jumps
    elsewhere, with two such rules of different pieces. ValueError where these do not agree either. Laws of a + b above 1e6 are themselves
    rounded by more.

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
    total = 0.0
    for integrand, limits in pieces({0.5, mean, *breakpoints}):
        total += float(np.sum(tanhsinh(integrand, limits[:-1], limits[1:], rtol=1e-13).integral))

    # Neither rule knows when it has missed a jump, so two must agree. Bisection sees one that is no closer than a thousandth of a piece to
    # a piece's end: it starts with pieces near the ends and around the law's peak, and a second time with others.
    spread = (mean * (1.0 - mean) / (a + b + 1.0)) ** 0.5
    found = [total]
    for near, left, right in (((1e-6, 1e-4, 1e-2, 0.1), 8.0, 9.0), ((3.7e-7, 2.3e-5, 3.1e-3, 0.0617, 0.271, 0.497), 2.3, 2.9)):
        around = {*near, *(1.0 - x for x in near), mean - left * spread, mean + right * spread}
        adaptive = 0.0
        for integrand, limits in pieces({0.5, *breakpoints, *(x for x in around if 0.0 < x < 1.0)}):
            for start, stop in pairwise(limits):
                value, *_ = quad(
                    lambda u, f=integrand: float(f(np.asarray(u))),
                    start,
                    stop,
                    epsabs=RELATIVE_ERROR * abs(total) / 100,
                    epsrel=RELATIVE_ERROR / 10,
                    limit=200,
                    full_output=1,  # instead of warnings
                )
                adaptive += value
        for other in found:
            if abs(other - adaptive) <= RELATIVE_ERROR * abs(adaptive):
                return other
        found.append(adaptive)
    low, high = min(found), max(found)
    raise ValueError(
        f"function must be smooth between its breakpoints, got a mean from {low:.9g} to {high:.9g} under Beta({a:g}, {b:g}) by three rules; "
        "name the pass rates at which it jumps"
    )


def jumps(function: Callable[[FloatArray], FloatArray]) -> tuple[float, ...]:
    """The pass rates inside (0, 1) at which `function` jumps, by bisection from a grid of 1/2048 to the neighbouring doubles.

    The difference over an interval that shrinks goes to zero with it, except over a jump. Of several jumps within 1/2048 at most one is found.
    """
    grid = np.linspace(0.0, 1.0, 2049)
    low, high = grid[:-1], grid[1:]
    left, right = function(low), function(high)
    first = np.abs(right - left)
    rounding = 1e-9 * max(np.abs(left).max(), np.abs(right).max())
    for _ in range(60):
        middle = 0.5 * (low + high)
        value = function(middle)
        down = np.abs(value - left) >= np.abs(right - value)
        low, left = np.where(down, low, middle), np.where(down, left, value)
        high, right = np.where(down, middle, high), np.where(down, value, right)
        kept = (np.abs(right - left) > 0.5 * first) & (first > rounding)
        low, high, left, right, first = low[kept], high[kept], left[kept], right[kept], first[kept]
    return tuple(float(x) for x in low if 1e-12 < x < 1.0 - 1e-12)  # a steep end looks like a jump beside it
