"""Minimax robustness of a weight to a wrong SNR^2 (PACED's robustness theorem), with exact constants (ours).

The true optimal weight is w*(p) = w0(p) e^{eps(p)} with -delta <= eps <= delta (or -delta_low <= eps <= delta_high). A weight w earns
E[2 w s - w^2 m] at a point and, when its scale is free, E[w s]^2 / E[w^2 m] in aggregate, where s = m w* is the signal and m the second
moment. Efficiency is the share of the optimum's gain; loss is 1 - efficiency. With d nu ~ w0^2 m dP, using w0 has efficiency
E_nu[e^eps]^2 / E_nu[e^{2 eps}], which Kantorovich's inequality bounds below by sech^2(delta).

Axes: n pass-rate levels, G values of eps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from paced_theory._checks import (
    FloatArray,
    check_array,
    check_broadcast,
    check_int,
    check_nonnegative,
    check_positive,
    check_prior,
    check_real,
)
from paced_theory._special import log_beta_ratio

#: Widest range of eps, in nats, for the numeric searches: beyond, the game's value is lost among their rounding errors.
WIDEST_SEARCH = 10.0


@dataclass(frozen=True)
class Adversary:
    """The law of eps that hurts w0 most, found by linear programming.

    eps: (G,) the values offered; nu: (G,) the masses chosen, summing to one; efficiency: what w0 keeps under that law.
    """

    eps: FloatArray
    nu: FloatArray
    efficiency: float


@dataclass(frozen=True)
class SaddlePoint:
    """The weight with the best worst case over the class, found by cutting planes.

    log_ratio: (n,) log(w / w0), centred to mean zero under nu; efficiency: its worst case, found by the adversary (a lower bound of the
    game's value); upper_bound: the best any weight does against the adversary's strategies so far; cuts: how many there were.
    """

    log_ratio: FloatArray
    efficiency: float
    upper_bound: float
    cuts: int


def pointwise_loss(eps: ArrayLike) -> FloatArray:
    """(1 - e^{-eps})^2: relative loss of the gain 2ws - w^2 m at a point where w* = w0 e^eps and w0 is used; inf beyond doubles."""
    with np.errstate(over="ignore"):
        return np.asarray(np.expm1(-check_array("eps", eps)) ** 2)


def pointwise_loss_bound(delta: ArrayLike) -> FloatArray:
    """(e^delta - 1)^2 = delta^2 + delta^3 + 7/12 delta^4 + ...: the largest pointwise loss for |eps| <= delta (PACED's theorem, exact); inf beyond doubles."""
    with np.errstate(over="ignore"):
        return np.asarray(np.expm1(_bounds("delta", delta)) ** 2)


def pointwise_minimax_loss(delta: ArrayLike) -> FloatArray:
    """tanh^2(delta): the largest pointwise loss after rescaling w0 by the best constant, sech(delta) (ours).

    |1 - c e^{-eps}| takes the same value at both ends of [-delta, delta] for c = sech(delta). So the cubic term of the pointwise bound
    comes from the scale alone, and the pointwise and aggregate worst cases agree.
    """
    return worst_case_loss(delta)


def aggregate_efficiency(eps: ArrayLike, nu: ArrayLike | None = None) -> float:
    """E_nu[e^eps]^2 / E_nu[e^{2 eps}]: efficiency of w0 when w* = w0 e^eps, in (0, 1], 1 only for constant eps.

    eps: (n,); nu: (n,) non-negative masses, normalised here; equal masses by default. Adding a constant to eps changes nothing.
    """
    values = check_array("eps", eps, ndim=1)
    masses = _masses(nu, values.size)
    # Only the log-ratio up to a constant matters: shifting by the maximum avoids overflow.
    with np.errstate(over="ignore"):  # a difference beyond doubles is -inf, whose exponential is 0 as it should be
        ratio = np.exp(values - values[masses > 0].max(), where=masses > 0, out=np.zeros_like(values))
    return min(1.0, float((masses @ ratio) ** 2 / (masses @ ratio**2)))


def worst_case_efficiency(delta: ArrayLike, delta_high: ArrayLike | None = None) -> FloatArray:
    """sech^2(delta): least aggregate efficiency of w0 over |eps| <= delta (ours, by Kantorovich's inequality).

    With delta_high, eps ranges over [-delta, delta_high] and the result is sech^2((delta + delta_high)/2): the scale of a weight is
    free, so only the width counts. Attained by `worst_case_law`.
    """
    decay = np.exp(-2.0 * _half_width(delta, delta_high))  # cosh itself would overflow for large delta
    return np.asarray(np.minimum(1.0, 4.0 * decay / (1.0 + decay) ** 2))


def worst_case_loss(delta: ArrayLike, delta_high: ArrayLike | None = None) -> FloatArray:
    """tanh^2(delta) = delta^2 - 2/3 delta^4 + 17/45 delta^6 - ...: 1 - `worst_case_efficiency`, without cancellation (ours)."""
    return np.asarray(np.tanh(_half_width(delta, delta_high)) ** 2)


def loss_slope(delta: ArrayLike) -> FloatArray:
    """d log(worst-case loss) / d log(delta) = 4 delta / sinh(2 delta), equal to 2 at delta = 0: the theorem's order (ours)."""
    d = _bounds("delta", delta)
    slope = np.divide(8.0 * d * np.exp(-2.0 * d), -np.expm1(-4.0 * d), out=np.full_like(d, 2.0), where=d > 0)
    return np.asarray(np.minimum(slope, 2.0))  # the last bit of exp and expm1 depends on the processor


def worst_case_law(delta: float, delta_high: float | None = None) -> tuple[FloatArray, FloatArray]:
    """(eps, nu) of the two-point law that attains the worst case: the upper end with mass e^{low} / (e^{low} + e^{high}).

    For |eps| <= delta: eps = +delta with mass e^{-delta}/(e^delta + e^{-delta}), eps = -delta otherwise. ValueError for a
    range wider than 700 nats, where the smaller mass is below the range of doubles.
    """
    low, high = _interval(delta, delta_high, 700.0)
    upper_mass = float(special.expit(low - high))
    return np.array([low, high]), np.array([1.0 - upper_mass, upper_mass])


def find_adversary(delta: float, delta_high: float | None = None, *, grid: int = 101) -> Adversary:
    """Search all laws of eps on a grid of [-delta, delta_high] for the one that leaves w0 the least efficiency.

    For a given mean t of e^eps the largest E[e^{2 eps}] is a linear programme in the masses; a bounded scalar search then runs over t.
    Nothing about the answer is used: neither that the support has two points nor that they are the ends.
    """
    from scipy import optimize

    low, high = _interval(delta, delta_high)
    eps = np.linspace(low, high, check_int("grid", grid, 3))
    ratio = np.exp(eps)

    def law_with_mean(mean: float) -> FloatArray:
        result = optimize.linprog(-(ratio**2), A_eq=np.stack([np.ones_like(ratio), ratio]), b_eq=[1.0, mean], method="highs")
        if not result.success:
            raise ArithmeticError(f"linear programme for the adversary failed at mean {mean}: {result.message}")
        return np.asarray(result.x, dtype=float)

    def efficiency_at(mean: float) -> float:
        return aggregate_efficiency(eps, law_with_mean(mean))

    best = optimize.minimize_scalar(efficiency_at, bounds=(ratio[0], ratio[-1]), method="bounded", options={"xatol": 1e-10})
    nu = law_with_mean(float(best.x))
    return Adversary(eps, nu / nu.sum(), aggregate_efficiency(eps, nu))


def worst_case_of_weight(
    log_ratio: ArrayLike, nu: ArrayLike, delta: float, delta_high: float | None = None, *, grid: int = 21
) -> tuple[float, FloatArray]:
    """Least efficiency of w = w0 e^{log_ratio} over the class, and the adversary's choice that causes it.

    log_ratio, nu: (n,). At each level the adversary mixes values of eps over the problems of that pass rate; w depends on p only. Its
    problem, least L1^2/L2 with L1 = E[e^{h + eps}], L2 = E[e^{2 eps}] linear in the law, is convex (quadratic over linear) and equals
    max over mu of min over laws of 2 mu L1 - mu^2 L2: a concave scalar search with a separate minimum at each level.
    Returns the efficiency and (n, G) masses over the grid of eps at each level, each row summing to one.
    """
    h = check_array("log_ratio", log_ratio, ndim=1)
    masses = _masses(nu, h.size)
    low, high = _interval(delta, delta_high)
    ratio = np.exp(np.linspace(low, high, check_int("grid", grid, 3)))
    weight = np.exp(h - h.max())
    law, value = _best_response(weight, masses, ratio)
    return min(1.0, value / float(masses @ weight**2)), law


def saddle_point(
    nu: ArrayLike, delta: float, delta_high: float | None = None, *, grid: int = 21, tolerance: float = 1e-6, max_rounds: int = 300
) -> SaddlePoint:
    """Maximise the worst-case efficiency over all weights w(p): the game against an adversary limited to [-delta, delta_high].

    nu: (n,) masses of the pass-rate levels under w0^2 m dP. With unit-norm strategies v_j of the adversary, the best weight is the w of
    least norm with <w, v_j> >= 1 (least-distance programming by NNLS, Lawson and Hanson 1974, ch. 23); the adversary's best response
    to it becomes the next cut until the bounds meet within `tolerance`. The first cuts raise eps on one level each; w0 is not among the
    starts. Because the adversary may treat problems of equal pass rate differently, w0 itself (log_ratio = 0) is the answer.
    Raises ArithmeticError if `max_rounds` do not suffice.
    """
    from scipy import optimize

    check_positive("tolerance", tolerance)
    check_int("max_rounds", max_rounds, 1)
    masses = _masses(nu, check_array("nu", nu, ndim=1).size)
    if (masses == 0).any():
        raise ValueError(f"nu must be positive at every level, got 0 at index [{np.argmin(masses)}]; drop that level")
    low, high = _interval(delta, delta_high)
    ratio = np.exp(np.linspace(low, high, check_int("grid", grid, 3)))
    root, n = np.sqrt(masses), masses.size

    def strategy(law: FloatArray) -> FloatArray:
        """The law as a vector v with <sqrt(nu) w, v>^2 / |sqrt(nu) w|^2 = efficiency of w against it."""
        return np.asarray(root * (law @ ratio) / np.sqrt(masses @ (law @ ratio**2)))

    end_laws = np.zeros((n, n, ratio.size))
    end_laws[:, :, 0] = 1.0
    end_laws[np.arange(n), np.arange(n), 0], end_laws[np.arange(n), np.arange(n), -1] = 0.0, 1.0
    cuts = [strategy(law) for law in end_laws]
    for _ in range(max_rounds):
        system = np.vstack([np.array(cuts).T, np.ones(len(cuts))])
        solution, _ = optimize.nnls(system, np.eye(n + 1)[n])
        residual = system @ solution - np.eye(n + 1)[n]
        direction = -residual[:n] / residual[n]
        upper_bound = float(1.0 / (direction @ direction))
        weight = direction / root
        law, value = _best_response(weight, masses, ratio)
        efficiency = min(1.0, value / float(masses @ weight**2))
        if upper_bound - efficiency < tolerance:
            log_ratio = np.log(weight)
            return SaddlePoint(log_ratio - masses @ log_ratio, efficiency, upper_bound, len(cuts))
        cuts.append(strategy(law))
    raise ArithmeticError(
        f"saddle point: bounds {efficiency:.9f} and {upper_bound:.9f} had not met after {max_rounds} rounds; give a larger max_rounds"
    )


def beta_misspecification_loss(
    d_alpha: ArrayLike, d_beta: ArrayLike, alpha: float = 1.0, beta: float = 1.0, prior: tuple[float, float] = (1.0, 1.0)
) -> FloatArray:
    """Loss of the kernel with exponents (alpha + d_alpha, beta + d_beta) where (alpha, beta) are optimal, in closed form (ours).

    With m dP ~ Beta(a, b), (a, b) = prior:
      1 - B(2 alpha + d_alpha + a, 2 beta + d_beta + b)^2 / (B(2 alpha + a, 2 beta + b) B(2 (alpha + d_alpha) + a, 2 (beta + d_beta) + b)).
    If m ~ p^g (1-p)^g' and p ~ Beta(a', b'), give prior = (a' + g, b' + g'). Here eps = -d_alpha log p - d_beta log(1-p) is unbounded,
    so sech^2 gives no bound, yet the loss stays of second order (`beta_misspecification_curvature`).
    Raises ValueError where a weight has no finite second moment: 2 (alpha + d_alpha) + a and 2 (beta + d_beta) + b must be positive.
    """
    shift_a, shift_b, first, second = _beta_arguments(d_alpha, d_beta, alpha, beta, prior)
    if (first + 2 * shift_a <= 0).any() or (second + 2 * shift_b <= 0).any():
        raise ValueError(
            "d_alpha and d_beta must leave 2 (alpha + d_alpha) + a > 0 and 2 (beta + d_beta) + b > 0 (finite second moment of the weight), "
            f"got least values {(first + 2 * shift_a).min():g} and {(second + 2 * shift_b).min():g}"
        )
    # Ratios to B(A, B): differences of log B themselves would lose small losses, and all digits for concentrated priors.
    log_efficiency = 2 * log_beta_ratio(first, second, shift_a, shift_b) - log_beta_ratio(first, second, 2 * shift_a, 2 * shift_b)
    return np.asarray(np.maximum(-np.expm1(log_efficiency), 0.0))


def beta_misspecification_curvature(
    d_alpha: ArrayLike, d_beta: ArrayLike, alpha: float = 1.0, beta: float = 1.0, prior: tuple[float, float] = (1.0, 1.0)
) -> FloatArray:
    """Leading term of `beta_misspecification_loss`: Var_nu(d_alpha log p + d_beta log(1-p)) under nu = Beta(A, B) (ours).

    A = 2 alpha + a, B = 2 beta + b; equal to d_alpha^2 psi_1(A) + d_beta^2 psi_1(B) - (d_alpha + d_beta)^2 psi_1(A + B), psi_1 the trigamma
    function.
    """
    shift_a, shift_b, first, second = _beta_arguments(d_alpha, d_beta, alpha, beta, prior)
    trigamma_sum = special.polygamma(1, first + second)
    return np.asarray(
        shift_a**2 * special.polygamma(1, first) + shift_b**2 * special.polygamma(1, second) - (shift_a + shift_b) ** 2 * trigamma_sum
    )


def _best_response(weight: FloatArray, masses: FloatArray, ratio: FloatArray) -> tuple[FloatArray, float]:
    """Law over the grid at each level with the least L1^2 / L2 against a weight >= 0, and that least value."""
    from scipy import optimize

    def law_for(mu: float) -> FloatArray:
        cost = 2 * mu * weight[:, None] * ratio - mu**2 * ratio**2
        law = np.zeros_like(cost)
        law[np.arange(weight.size), cost.argmin(axis=1)] = 1.0
        return law

    def moments(law: FloatArray) -> tuple[float, float]:
        return float(masses @ (weight * (law @ ratio))), float(masses @ (law @ ratio**2))

    def slope(mu: float) -> float:
        """Half the derivative of the concave dual, L1 - mu L2: it falls through zero at the maximum, with jumps."""
        first, second = moments(law_for(mu))
        return first - mu * second

    left, right = 0.0, 2.0 * float(np.abs(weight).max()) / float(ratio[0])
    middle = optimize.bisect(slope, left, right, xtol=1e-15 * right, maxiter=200)
    step = 1e-12 * right
    before, after = law_for(max(middle - step, left)), law_for(middle + step)
    # At a jump the optimum mixes the laws on both sides so that L1 = mu L2.
    (l1_before, l2_before), (l1_after, l2_after) = moments(before), moments(after)
    excess, deficit = l1_before - middle * l2_before, middle * l2_after - l1_after
    share = deficit / (excess + deficit) if excess + deficit > 0 else 1.0
    law = share * before + (1.0 - share) * after
    first, second = moments(law)
    return law, first**2 / second


def _beta_arguments(
    d_alpha: ArrayLike, d_beta: ArrayLike, alpha: float, beta: float, prior: tuple[float, float]
) -> tuple[FloatArray, FloatArray, float, float]:
    """(d_alpha, d_beta, A, B) with A = 2 alpha + a, B = 2 beta + b, checked positive."""
    a, b = check_prior(prior)
    first, second = 2 * check_real("alpha", alpha) + a, 2 * check_real("beta", beta) + b
    if first <= 0 or second <= 0:
        raise ValueError(f"alpha and beta must leave 2 alpha + a > 0 and 2 beta + b > 0, got {first:g} and {second:g}")
    shift_a, shift_b = check_broadcast(("d_alpha", check_array("d_alpha", d_alpha)), ("d_beta", check_array("d_beta", d_beta)))
    return shift_a, shift_b, first, second


def _interval(delta: float, delta_high: float | None, widest: float = WIDEST_SEARCH) -> tuple[float, float]:
    """Ends of the range of eps, not both zero and at most `widest` apart."""
    low = -check_nonnegative("delta", delta)
    high = -low if delta_high is None else check_nonnegative("delta_high", delta_high)
    if high == low:
        raise ValueError("delta must be > 0 unless delta_high is, got a range of eps of width 0")
    if high - low > widest:
        names = "2 delta" if delta_high is None else "delta + delta_high"
        raise ValueError(f"{names} must be <= {widest:g} nats here, got {high - low:g}; worst_case_efficiency is exact for any delta")
    return low, high


def _half_width(delta: ArrayLike, delta_high: ArrayLike | None) -> FloatArray:
    low = _bounds("delta", delta)
    if delta_high is None:
        return low
    low, high = check_broadcast(("delta", low), ("delta_high", _bounds("delta_high", delta_high)))
    return np.asarray((low + high) / 2)


def _bounds(name: str, value: ArrayLike) -> FloatArray:
    d = check_array(name, value)
    if (d < 0).any():
        raise ValueError(f"{name} must be finite numbers >= 0, got {d[d < 0].flat[0]:g}")
    return np.minimum(d, 1e4)  # beyond, every function of delta here is at its limit in doubles, and its terms would overflow


def _masses(nu: ArrayLike | None, size: int) -> FloatArray:
    if nu is None:
        return np.full(size, 1.0 / size)
    masses = check_array("nu", nu, ndim=1)
    if masses.size != size:
        raise ValueError(f"nu must have one mass for each of the {size} values, got {masses.size}")
    if (masses < 0).any() or masses.max() <= 0:
        raise ValueError(f"nu must be non-negative and not all 0, got least {masses.min():g} and largest {masses.max():g}")
    masses = masses / masses.max()  # first, so that the sum cannot overflow
    return np.asarray(masses / masses.sum())
