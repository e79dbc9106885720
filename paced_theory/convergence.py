"""What weighting does to the noise of SGD: the variance ratio R in closed form, the SGD bound, and both checked by simulation.

World: in a bin of pass rate p the mean gradient has squared norm ~ (p(1-p))^(2 a_s) and the noise variance is ~ (p(1-p))^gamma with
gamma = 2 a_s - 1, so that SNR^2 ~ p(1-p) for every signal exponent a_s. The world does not change with the weight.

Source: PACED eq. 33 (R) and Prop. 8 (bound); the closed form, the break-even exponent and the laws of p other than uniform are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from paced_theory._checks import FloatArray, as_numpy, check_array, check_int, check_nonnegative, check_positive, check_prior
from paced_theory._special import log_beta_ratio
from paced_theory.langevin import Langevin


def variance_ratio(
    signal_exponent: ArrayLike, alpha: float = 1.0, beta: float = 1.0, prior: tuple[float, float] = (1.0, 1.0)
) -> FloatArray:
    """R = E[w^2 n2] / (E[w]^2 E[n2]) for w = p^alpha (1-p)^beta, n2 = (p(1-p))^gamma, gamma = 2 a_s - 1, p ~ Beta(a, b):

        R = B(a+2 alpha+gamma, b+2 beta+gamma) B(a, b)^2 / (B(a+alpha, b+beta)^2 B(a+gamma, b+gamma)).

    `signal_exponent` a_s may be an array; the result has its shape. R < 1 means that weights of mean one lower the gradient noise. For
    alpha = beta = 1 and uniform p it is 18 a_s (2 a_s + 1) / ((4 a_s + 1)(4 a_s + 3)).

    ValueError where E[n2] diverges: a_s <= (1 - min(a, b)) / 2.

    >>> variance_ratio([0.25, 0.5]).round(12).tolist()
    [0.84375, 1.2]
    """
    exponent = check_array("signal_exponent", signal_exponent)
    alpha, beta = check_nonnegative("alpha", alpha), check_nonnegative("beta", beta)
    a, b = check_prior(prior)
    lowest = (1.0 - min(a, b)) / 2.0
    if exponent.min() <= lowest:
        raise ValueError(f"signal_exponent must be > {lowest:g} under the prior {prior}, got {exponent.min():g}: E[n2] is infinite")
    gamma = 2.0 * exponent - 1.0
    log_mean_weight = log_beta_ratio(a, b, alpha, beta)
    log_weighted_noise = log_beta_ratio(a + gamma, b + gamma, 2 * alpha, 2 * beta)  # relative to E[n2]
    return as_numpy(np.asarray(np.exp(log_weighted_noise - 2.0 * log_mean_weight)))


def breakeven_signal_exponent(alpha: float = 1.0, beta: float = 1.0, prior: tuple[float, float] = (1.0, 1.0)) -> float:
    """The smallest a_s with R(a_s) = 1: below it, weighting lowers the noise. (sqrt(61) - 1)/20 for the default arguments.

    ValueError if R never crosses 1: identically for alpha = beta = 0, and for strongly asymmetric kernels, whose R stays below 1.
    """
    from scipy.optimize import brentq

    a, b = check_prior(prior)
    lowest = (1.0 - min(a, b)) / 2.0
    grid = lowest + np.geomspace(1e-6, 1e4, 401)
    log_ratio = np.log(variance_ratio(grid, alpha, beta, prior))
    crossings = np.flatnonzero((log_ratio[:-1] < 0) & (log_ratio[1:] >= 0))
    if crossings.size == 0 or alpha == beta == 0:
        raise ValueError(f"alpha={alpha!r}, beta={beta!r} under the prior {prior} have no break-even: R never rises through 1")
    first = crossings[0]
    return float(brentq(lambda x: float(np.log(variance_ratio(x, alpha, beta, prior))), grid[first], grid[first + 1], xtol=1e-15))


def variance_ratio_of(weight: ArrayLike, noise_variance: ArrayLike, probability: ArrayLike | None = None) -> float:
    """R = E[w^2 n2] / (E[w]^2 E[n2]) for pass-rate bins: `weight`, `noise_variance` and `probability` are (m,), the last equal by default.

    The finite-sample twin of `variance_ratio`, for measured noise or other weights. ValueError for negative entries or zero means.
    """
    w, n2 = check_array("weight", weight, ndim=1), check_array("noise_variance", noise_variance, ndim=1)
    mass = np.full(w.shape, 1.0 / w.size) if probability is None else check_array("probability", probability, ndim=1)
    for name, values in (("weight", w), ("noise_variance", n2), ("probability", mass)):
        if values.shape != w.shape:
            raise ValueError(f"{name} must have as many entries as weight, {w.size}, got {values.size}")
        if values.min() < 0 or values.max() == 0:
            raise ValueError(f"{name} must be >= 0 and not all 0, got minimum {values.min():g} and maximum {values.max():g}")
    w, n2, mass = w / w.max(), n2 / n2.max(), mass / mass.max()  # the scales cancel; without them no square overflows
    for name, values in (("weight", w), ("noise_variance", n2)):
        if mass @ values == 0:
            raise ValueError(f"{name} must be positive in a bin of positive probability, got a mean of 0: R is undefined")
    return float(mass @ (w**2 * n2) * mass.sum() ** 2 / ((mass @ w) ** 2 * (mass @ n2)))


def sgd_bound(initial_gap: float, smoothness: float, noise_variance: float, step_size: float, steps: int) -> float:
    """2 (L(theta_0) - L*) / (eta T) + L eta sigma^2, which bounds (1/T) sum_t E||grad L(theta_t)||^2 for eta <= 1/L. Source: PACED Prop. 8.

    ValueError for eta > 1/L, where the bound does not hold.
    """
    gap, noise = check_nonnegative("initial_gap", initial_gap), check_nonnegative("noise_variance", noise_variance)
    smooth, eta = check_positive("smoothness", smoothness), check_positive("step_size", step_size)
    if eta > 1.0 / smooth:
        raise ValueError(f"step_size must be <= 1/smoothness = {1.0 / smooth:g}, got {eta:g}: the bound does not hold beyond")
    return 2.0 * gap / (eta * check_int("steps", steps, 1)) + smooth * eta * noise


def steps_to_reach(squared_gradient: float, initial_gap: float, smoothness: float, noise_variance: float) -> float:
    """The fewest steps T for which the bound reaches `squared_gradient`, over all step sizes eta <= 1/L (a real number).

    8 gap L sigma^2 / g^2 when noise dominates (sigma^2 >= g/2, g the target), else 2 gap L / (g - sigma^2). In the first regime T is
    proportional to the noise, so weighting multiplies it by R. Source: ours.
    """
    target, gap = check_positive("squared_gradient", squared_gradient), check_nonnegative("initial_gap", initial_gap)
    smooth, noise = check_positive("smoothness", smoothness), check_nonnegative("noise_variance", noise_variance)
    if noise >= target / 2.0:
        return 8.0 * gap * smooth * noise / target**2
    return 2.0 * gap * smooth / (target - noise)


@dataclass(frozen=True)
class Objective:
    """A smooth function of theta with minimum 0: `value` maps (..., d) to (...), `gradient` maps (..., d) to (..., d).

    dimension: the only d that it accepts, None for any.
    """

    name: str
    smoothness: float
    dimension: int | None
    value: Callable[[FloatArray], FloatArray]
    gradient: Callable[[FloatArray], FloatArray]


def quadratic(curvatures: ArrayLike) -> Objective:
    """f(theta) = 1/2 sum_i h_i theta_i^2 with curvatures h (d,), all > 0; smoothness max h."""
    h = _check_curvatures(curvatures)
    return Objective("quadratic", float(h.max()), h.size, lambda theta: 0.5 * (theta**2 @ h), lambda theta: theta * h)


def _check_curvatures(curvatures: ArrayLike) -> FloatArray:
    h = check_array("curvatures", curvatures, ndim=1)
    if h.min() <= 0:
        raise ValueError(f"curvatures must be > 0, got {h.min():g}")
    return h


def _check_start(theta0: ArrayLike, dimension: int | None) -> FloatArray:
    start = check_array("theta0", theta0, ndim=1)
    if dimension is not None and start.size != dimension:
        raise ValueError(f"theta0 must have {dimension} entries, one for each curvature, got {start.size}")
    return start


def saturating() -> Objective:
    """f(theta) = sum_i theta_i^2 / (1 + theta_i^2): smooth with L = 2, not convex beyond |theta_i| = 1/sqrt(3), bounded by d."""
    return Objective(
        "saturating",
        2.0,
        None,
        lambda theta: np.asarray(np.sum(theta**2 / (1.0 + theta**2), axis=-1)),
        lambda theta: 2.0 * theta / (1.0 + theta**2) ** 2,
    )


class SgdRun(NamedTuple):
    """`mean_squared_gradient`: (1/T) sum_t ||grad f(theta_t)||^2 for each trajectory, shape (trajectories,).

    `noise_variance` is sigma^2, E||g - grad f||^2 of one step; `bound` the value of `sgd_bound`, infinite with Langevin noise, which it leaves out.
    """

    mean_squared_gradient: FloatArray
    noise_variance: float
    bound: float


def simulate_sgd(
    objective: Objective,
    theta0: ArrayLike,
    weight: ArrayLike,
    noise_variance: ArrayLike,
    step_size: float,
    steps: int,
    trajectories: int,
    rng: np.random.Generator,
    *,
    tail: float | None = None,
    langevin: Langevin | None = None,
) -> SgdRun:
    """SGD with one problem from each of m equally likely pass-rate bins a step, problem gradients weighted with weights of mean one.

    A problem in bin j has gradient grad f(theta) + xi with E xi = 0, E||xi||^2 = noise_variance[j]; `weight` is (m,), rescaled to mean one,
    so that the step's mean is grad f exactly and its noise sum_j w_j^2 n2_j / m^2. The noise is Gaussian, or Student's t with `tail` > 2
    degrees of freedom. `langevin` adds adaptive Langevin noise to every step (ASGLD). `theta0` is (d,). ValueError for a step size above 1/L or
    arrays of unequal length.
    """
    start = _check_start(theta0, objective.dimension)
    w, n2 = check_array("weight", weight, ndim=1), check_array("noise_variance", noise_variance, ndim=1)
    if w.shape != n2.shape or w.min() < 0 or w.sum() == 0 or n2.min() < 0:
        raise ValueError(f"weight and noise_variance must be >= 0, not all 0 and of equal length, got {w.size} and {n2.size} entries")
    if tail is not None and check_positive("tail", tail) <= 2:
        raise ValueError(f"tail must be > 2 for the noise to have a variance, got {tail!r}")
    w = w / w.mean()
    bins, dim = w.size, start.size
    sigma2 = float(w**2 @ n2) / bins**2
    bound = sgd_bound(float(objective.value(start)), objective.smoothness, sigma2, step_size, steps)
    scale = (w * np.sqrt(n2 / dim) / bins)[:, None]
    theta = np.tile(start, (check_int("trajectories", trajectories, 1), 1))
    total = np.zeros(trajectories)
    mean, variance = np.zeros_like(theta), np.zeros_like(theta)
    for _ in range(steps):
        gradient = objective.gradient(theta)
        total += np.sum(gradient**2, axis=-1)
        shape = (trajectories, bins, dim)
        draws = rng.standard_normal(shape) if tail is None else rng.standard_t(tail, shape) / np.sqrt(tail / (tail - 2.0))
        taken = gradient + np.sum(scale * draws, axis=1)
        if langevin is not None:
            mean, variance = langevin.updated(mean, variance, taken)
            taken = taken + langevin.strength * (mean + np.sqrt(variance) * rng.standard_normal(theta.shape))
        theta = theta - step_size * taken
    return SgdRun(total / steps, sigma2, bound if langevin is None else np.inf)


def quadratic_mean_squared_gradient(curvatures: ArrayLike, theta0: ArrayLike, noise_variance: float, step_size: float, steps: int) -> float:
    """(1/T) sum_t E||grad f(theta_t)||^2 of SGD on `quadratic(curvatures)`, exactly.

    E theta_i^2 follows m -> (1 - eta h_i)^2 m + eta^2 sigma^2 / d, a geometric sequence summed in closed form. Source: ours, the oracle for
    `simulate_sgd`.
    """
    h = _check_curvatures(curvatures)
    start = _check_start(theta0, h.size)
    eta, T = check_positive("step_size", step_size), check_int("steps", steps, 1)
    factor = (1.0 - eta * h) ** 2
    if np.any(factor >= 1.0):
        raise ValueError(f"step_size must be in (0, 2/max(curvatures)) = (0, {2.0 / h.max():g}), got {eta:g}")
    fixed = eta**2 * check_nonnegative("noise_variance", noise_variance) / h.size / (1.0 - factor)
    transient = (1.0 - factor**T) / (1.0 - factor) / T
    return float(np.sum(h**2 * (fixed + (start**2 - fixed) * transient)))
