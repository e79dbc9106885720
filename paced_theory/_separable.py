"""Weighted least squares of y = c f(theta) over bins with a scale c >= 0 and two shape parameters theta in a box.

The leading-order form c p^a (1-p)^b, the same form averaged over what a bin mixes, the Gaussian bump and the quadratic in logit p are all
of this kind. For given theta the best c is in closed form (variable projection: Golub and Pereyra 1973), which leaves theta to
`scipy.optimize.least_squares`. It starts from the best nodes of a coarse grid, so that a local minimum does not pass for the global one,
and the answer is never worse than the best node.

Axes: m bins, G grid nodes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from paced_theory._checks import FloatArray

_STARTS = 3
_ALIKE = 0.9  # cosine above which two shapes count as one start
_EVALUATIONS = 200
_TOLERANCE = 1e-10
_FIRST_STEP = 0.05  # of a profile's search, in units of the parameter
_END_TOLERANCE = 1e-4  # of an interval's end, in the same


@dataclass(frozen=True)
class Family:
    """Shapes f(theta) > 0 over m bins, with theta in a box.

    log_shape: theta (2,) -> (log f (m,), its Jacobian (m, 2)). lower, upper: (2,) ends of the box. grid: (G, 2) nodes inside the box, with
    log_grid (G, m), the logarithms of their shapes.
    """

    log_shape: Callable[[FloatArray], tuple[FloatArray, FloatArray]]
    lower: FloatArray
    upper: FloatArray
    grid: FloatArray
    log_grid: FloatArray


@dataclass(frozen=True)
class Solution:
    """The least chi^2 = sum_i ((y_i - c f_i(theta)) / se_i)^2 over c >= 0 and the box.

    log_c = -inf and theta = nan where no shape with c > 0 fits better than zero. problem: "" or why the search may not have ended at the
    minimum.
    """

    log_c: float
    theta: FloatArray
    chi_squared: float
    problem: str = ""


def box_grid(lower: FloatArray, upper: FloatArray, nodes: int) -> FloatArray:
    """All pairs of `nodes` equidistant values a side, shape (nodes^2, 2)."""
    first, second = np.meshgrid(np.linspace(lower[0], upper[0], nodes), np.linspace(lower[1], upper[1], nodes), indexing="ij")
    return np.stack([first.ravel(), second.ravel()], axis=1)


def linear_family(features: FloatArray, lower: FloatArray, upper: FloatArray, grid: FloatArray) -> Family:
    """Shapes exp(theta . features) for features (m, 2)."""
    return Family(lambda theta: (features @ theta, features), lower, upper, grid, grid @ features.T)


def _whitened(log_shape: FloatArray, weight: FloatArray) -> FloatArray:
    """f_i / se_i scaled so that their largest entry is 1: no overflow for any theta, and never all zero. Rows are shapes."""
    log_f = log_shape + np.log(weight)
    return np.asarray(np.exp(log_f - log_f.max(axis=-1, keepdims=True)))


def solve(
    family: Family,
    y: FloatArray,
    standard_error: FloatArray,
    *,
    start: FloatArray | None = None,
    fixed: tuple[int, float] | None = None,
) -> Solution:
    """Fit y (m,) with standard errors (m,). `fixed` = (index, value) holds one parameter, as a profile likelihood needs.

    Without `start` the grid gives the starts; with it, shape (2,), the search is local from there. Never raises for finite input.
    """
    weight = 1.0 / standard_error
    size = float(np.linalg.norm(y * weight))
    if size == 0:
        return Solution(-np.inf, np.full(2, np.nan), 0.0)
    target = y * weight / size  # of norm 1, so that the tolerances mean the same for any data

    if start is None:
        starts = _distant_starts(family, target, weight)
    else:
        starts = [start]

    free = np.array([i for i in range(2) if fixed is None or i != fixed[0]])

    def full(free_theta: FloatArray) -> FloatArray:
        theta = np.empty(2)
        theta[free] = free_theta
        if fixed is not None:
            theta[fixed[0]] = fixed[1]
        return theta

    def parts(free_theta: FloatArray) -> tuple[FloatArray, FloatArray, float, float]:
        log_f, slope = family.log_shape(full(free_theta))
        f = _whitened(log_f, weight)
        norm = float(f @ f)
        return f, slope[:, free], max(0.0, float(f @ target)) / norm, norm

    def residual(free_theta: FloatArray) -> FloatArray:
        f, _, c, _ = parts(free_theta)
        return np.asarray(c * f - target)

    def jacobian(free_theta: FloatArray) -> FloatArray:
        f, slope, c, norm = parts(free_theta)
        change = f[:, None] * slope
        by_c = (target @ change - 2 * c * (f @ change)) / norm if c > 0 else np.zeros(free.size)
        return np.asarray(c * change + f[:, None] * by_c)

    def cost_of(free_theta: FloatArray) -> float:
        """chi^2 as a share of that of c = 0, and no less than it where c = 0 is best."""
        return float(np.sum(residual(free_theta) ** 2)) if parts(free_theta)[2] > 0 else 1.0

    best_theta, best_cost, problem = np.empty(0), 1.0, ""
    for theta in starts:
        first = np.clip(theta[free], family.lower[free], family.upper[free])
        found = optimize.least_squares(
            residual, first, jac=jacobian, bounds=(family.lower[free], family.upper[free]), method="dogbox",
            ftol=_TOLERANCE, xtol=_TOLERANCE, gtol=_TOLERANCE, max_nfev=_EVALUATIONS,
        )  # fmt: skip
        stopped = "" if found.status > 0 else f"the search had not converged after {_EVALUATIONS} evaluations"
        for candidate in (first, np.asarray(found.x)):
            if (cost := cost_of(candidate)) < best_cost:
                best_theta, best_cost, problem = candidate, cost, stopped
    if best_theta.size == 0:
        return Solution(-np.inf, np.full(2, np.nan), size**2)
    theta = full(best_theta)
    log_scale = float((family.log_shape(theta)[0] + np.log(weight)).max())
    return Solution(float(np.log(parts(best_theta)[2] * size)) - log_scale, theta, best_cost * size**2, problem)


def _distant_starts(family: Family, target: FloatArray, weight: FloatArray) -> list[FloatArray]:
    """The best node of the grid, then the best of those whose shapes differ from the ones taken; none where c = 0 beats every node."""
    shapes = _whitened(family.log_grid, weight)
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    gain = shapes @ target  # chi^2 falls by gain^2 where gain > 0
    starts: list[FloatArray] = []
    while len(starts) < _STARTS and gain.max() > 0:
        best = int(gain.argmax())
        starts.append(family.grid[best])
        gain[shapes @ shapes[best] > _ALIKE] = -1.0
    return starts


def profile_interval(
    family: Family, y: FloatArray, standard_error: FloatArray, solution: Solution, which: int, quantile: float
) -> tuple[float, float]:
    """Values of parameter `which` where the profile chi^2 has risen by quantile^2 above the solution's, cut at the box.

    The first crossing on either side: where the profile turns down again far away, that is another basin and no part of the interval.
    The root of the rise is nearly linear in the parameter, which makes extrapolation and secants quick.
    """
    estimate = float(solution.theta[which])
    ends = []
    for bound, sign in ((float(family.lower[which]), -1.0), (float(family.upper[which]), 1.0)):
        rises, warm = {estimate: -quantile}, solution.theta

        def rise(value: float, rises: dict[float, float] = rises) -> float:
            """Root of the profile's rise less `quantile`, each value searched once, from the nearest minimum found before."""
            nonlocal warm
            if value not in rises:
                profile = solve(family, y, standard_error, start=warm, fixed=(which, value))
                if np.isfinite(profile.log_c):
                    warm = profile.theta
                rises[value] = float(np.sqrt(max(0.0, profile.chi_squared - solution.chi_squared))) - quantile
            return rises[value]

        inner, step = estimate, _FIRST_STEP
        while inner != bound:
            outer = min(inner + step, bound) if sign > 0 else max(inner - step, bound)
            if rise(outer) > 0:
                inner = float(optimize.brentq(rise, inner, outer, xtol=_END_TOLERANCE))
                break
            # To where the root would cross if it went on as it has come, and somewhat beyond, but by one to four steps.
            slope = (rise(outer) + quantile) / abs(outer - estimate)
            inner, step = outer, min(4 * step, max(step, -1.2 * rise(outer) / slope)) if slope > 0 else 2 * step
        ends.append(inner)
    return ends[0], ends[1]
