"""SNR^2 as p^a (1-p)^b e^{r(p)}: the leading-order fit, its rivals, boundary exponents and the remainder (PACED, Prop. 2).

If f > 0 is continuous on (0, 1), f(p)/p^a -> c0 > 0 as p -> 0 and f(p)/(1-p)^b -> c1 > 0 as p -> 1, then
f(p) = p^a (1-p)^b e^{r(p)} with r bounded and continuous, r(0+) = log c0 and r(1-) = log c1. "f -> 0 at both ends" is not enough:
see `counterexample`. With f = SNR^2 and r set to a constant, the weight proportional to SNR^2 is the Beta kernel.

Axes: m pass rates (bins), B data sets (bootstrap replicates). All logarithms are natural.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from paced_theory._checks import (
    FloatArray,
    check_array,
    check_errors,
    check_int,
    check_nonnegative,
    check_pass_rate,
    check_real,
    normal_quantile,
)
from paced_theory._separable import Family, Solution, box_grid, linear_family, profile_interval, solve
from paced_theory.robustness import worst_case_efficiency

EXPONENT_LOWER = -1.0
EXPONENT_UPPER = 10.0
_GRID_NODES = 45  # 0.25 apart over [-1, 10]
_NO_SIGNAL = "no scale above 0 lowers chi-squared: the data show no signal of this shape"
_MIN_POINTS = 4  # one more than the three parameters, so that residuals and their oscillation mean something


@dataclass(frozen=True)
class LeadingOrderFit:
    """The fit SNR^2 ~ c p^a (1-p)^b with its uncertainty.

    log_c, a, b: estimates; se_log_c, se_a, se_b: their standard errors (Fisher information); covariance: (3, 3), order (log c, a, b).
    a_low .. b_high: confidence intervals: Wald for the log fit, profile likelihood for the linear fit, where an end equal to -1 or 10
        means that the data do not bound that exponent on that side.
    r_squared: weighted share of variation explained, on the fitted scale; nan where the data do not vary.
    chi_squared: weighted sum of squared residuals; about m - 3 when the form and the standard errors are right.
    oscillation: max - min over the points of r = log(SNR^2 estimate) - log(fit); inf where an estimate is not positive. It contains the
        sampling noise of the estimates, so it overstates the oscillation of the true remainder.
    guaranteed_efficiency: sech^2(oscillation / 2), the efficiency that the fitted kernel has at least if r is what was seen (ours).
    aic, bic: chi_squared + 2 k and + k log m with k = 3; comparable between models fitted to the same data by the same method only.
    method: "log" or "linear"; at_bound: the exponents ("a", "b") pinned at an end of [-1, 10].
    """

    log_c: float
    a: float
    b: float
    se_log_c: float
    se_a: float
    se_b: float
    a_low: float
    a_high: float
    b_low: float
    b_high: float
    covariance: FloatArray
    r_squared: float
    chi_squared: float
    oscillation: float
    guaranteed_efficiency: float
    aic: float
    bic: float
    method: str
    at_bound: tuple[str, ...]

    def snr_squared(self, pass_rate: ArrayLike) -> FloatArray:
        """The fitted curve c p^a (1-p)^b at pass rates in [0, 1]."""
        p = check_pass_rate("pass_rate", pass_rate)
        return np.asarray(np.exp(self.log_c + special.xlogy(self.a, p) + special.xlog1py(self.b, -p)))


@dataclass(frozen=True)
class ModelComparison:
    """One model of SNR^2 as a function of p, fitted to the same data as its rivals by weighted least squares on the SNR^2 scale.

    parameters: name -> estimate, the scale c first (nan: undefined because the best c is 0); chi_squared: weighted residual sum of
    squares; aic, bic: chi_squared + 2 k, + k log m for k parameters; delta_aic: excess over the smallest AIC of the list. problem: "" or what
    is wrong with the fit (no positive scale, a search that did not converge, a scale beyond doubles); the other fields then hold the best that
    was found.
    """

    name: str
    parameters: dict[str, float]
    chi_squared: float
    aic: float
    bic: float
    delta_aic: float
    problem: str = ""


@dataclass(frozen=True)
class BoundaryExponent:
    """Behaviour of f at 0+: f(x) ~ e^{log_constant} x^exponent if `is_power_law`.

    drift: change of log f - exponent log x over the last half of the dyadic depths; it tends to 0 for a power law with power
    corrections and does not for slowly varying factors such as |log x|. Corrections like x^0.1, which have not decayed at the depth
    used, also come out as no power law: they need a larger depth.
    """

    exponent: float
    log_constant: float
    drift: float
    is_power_law: bool


def counterexample(pass_rate: ArrayLike) -> FloatArray:
    """f(p) = p |log p| (PACED's counter-example to Prop. 2): it vanishes at both ends, yet r = log(f / p) = log|log p| is unbounded.

    f(p)/p^a tends to infinity for a >= 1 and to 0 for a < 1, so no exponent makes f a power law at 0. At 1, f(p)/(1-p) -> 1.
    """
    p = check_pass_rate("pass_rate", pass_rate)
    return np.asarray(np.abs(special.xlogy(p, p)))


def remainder(pass_rate: ArrayLike, values: ArrayLike, a: float, b: float) -> FloatArray:
    """r(p) = log f(p) - a log p - b log(1-p) for values f(p) > 0 at pass rates strictly inside (0, 1); same shape as the input."""
    p = _interior("pass_rate", pass_rate)
    f = check_array("values", values)
    if f.shape != p.shape:
        raise ValueError(f"values must have the shape of pass_rate, {p.shape}, got {f.shape}")
    if (f <= 0).any():
        raise ValueError(f"values must be positive for a logarithm, got {f[f <= 0].flat[0]:g}")
    exponent_a, exponent_b = check_real("a", a), check_real("b", b)
    return np.asarray(np.log(f) - exponent_a * np.log(p) - exponent_b * np.log1p(-p))


def oscillation(values: ArrayLike) -> float:
    """osc(r) = max r - min r, the only property of the remainder that the guarantee needs."""
    r = check_array("values", values)
    return float(r.max() - r.min())


def guaranteed_efficiency(osc: float) -> float:
    """sech^2(osc/2): least efficiency of a kernel whose log-ratio to the optimum oscillates by at most `osc` (ours).

    The scale of a weight is free, so the ratio can be centred: |r| <= osc/2, and section 4's sech^2(delta) holds with delta = osc/2.
    """
    return float(worst_case_efficiency(check_nonnegative("osc", osc) / 2))


def boundary_exponent(f: Callable[[FloatArray], FloatArray], *, depth: int = 40) -> BoundaryExponent:
    """Exponent of f at 0+, from its values at x = 2^-1, ..., 2^-depth (dyadic, so that 1 - x is exact for depth <= 53).

    The local slopes s_k = log2 f(2^-k) - log2 f(2^-k-1) tend to the exponent; Aitken's extrapolation removes the leading power
    correction. Raises ValueError where f is not positive and finite at these points.
    """
    levels = np.arange(1, check_int("depth", depth, 8) + 1)
    values = np.asarray(f(np.exp2(-levels.astype(float))))
    asked = f"f must return one positive finite value for each x in 2^-1..2^-{depth}"
    if values.shape != levels.shape or values.dtype.kind not in "fiu":
        raise ValueError(f"{asked}, got {values.dtype} in shape {values.shape}")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"{asked}, got {values.min():g} to {values.max():g}; choose a smaller depth if f underflows")
    log_f = np.log(values)
    slopes = (log_f[:-1] - log_f[1:]) / np.log(2.0)
    last, change, previous_change = slopes[-1], slopes[-1] - slopes[-2], slopes[-2] - slopes[-3]
    acceleration = change - previous_change
    # Aitken's formula only where the corrections decay geometrically and stand above rounding.
    geometric = abs(change) > 1e-13 and 0 < change / previous_change < 0.99
    exponent = float(last - change**2 / acceleration if geometric else last)
    constants = log_f + exponent * np.log(2.0) * levels
    drift = float(abs(constants[-1] - constants[levels.size // 2 - 1]))
    return BoundaryExponent(exponent, float(constants[-1]), drift, drift < 1e-3)


def boundary_exponents(f: Callable[[FloatArray], FloatArray], *, depth: int = 40) -> tuple[BoundaryExponent, BoundaryExponent]:
    """(at p -> 0, at p -> 1) for a function f of the pass rate: the a and b of Prop. 2, if both are power laws; depth <= 53.

    ValueError for a larger depth: p = 1 - 2^-depth would round to 1.
    """
    if check_int("depth", depth, 8) > 53:
        raise ValueError(f"depth must be <= 53, where 1 - 2^-depth is still a double, got {depth}")
    return boundary_exponent(f, depth=depth), boundary_exponent(lambda x: f(1.0 - x), depth=depth)


def log_log_slope(distance: ArrayLike, values: ArrayLike, standard_error: ArrayLike | None = None) -> tuple[float, float]:
    """Slope of log values against log distance and its standard error: an exponent from data, distance being p or 1 - p.

    distance, values: (m,) positive, m >= 3; standard_error: (m,) of the values. Without it all points count alike and the standard
    error comes from the residuals; with it the weights are (values / standard_error)^2 and the standard error is the propagated one.
    """
    x, y = check_array("distance", distance, ndim=1, min_size=3), check_array("values", values, ndim=1, min_size=3)
    if x.shape != y.shape:
        raise ValueError(f"values must have the shape of distance, {x.shape}, got {y.shape}")
    if (x <= 0).any() or (y <= 0).any():
        raise ValueError(f"distance and values must be positive for a log-log slope, got least values {x.min():g} and {y.min():g}")
    if np.unique(x).size < 2:
        raise ValueError(f"distance must hold at least two different values, got {x[0]:g} only")
    log_x, log_y = np.log(x), np.log(y)
    weights = np.ones_like(y) if standard_error is None else (y / check_errors(standard_error, y.shape)) ** 2
    centred = log_x - np.average(log_x, weights=weights)
    information = float(np.sum(weights * centred**2))
    slope = float(np.sum(weights * centred * log_y) / information)
    if standard_error is not None:
        return slope, information**-0.5
    residual = log_y - log_y.mean() - slope * centred
    return slope, float(np.sqrt(residual @ residual / (x.size - 2) / information))


def fit_leading_order(
    pass_rate: ArrayLike, snr_squared: ArrayLike, standard_error: ArrayLike, *, confidence: float = 0.95
) -> LeadingOrderFit:
    """Weighted least squares of log SNR^2 = log c + a log p + b log(1-p) (section 3 of the theory).

    pass_rate, snr_squared, standard_error: (m,), m >= 4; pass rates strictly inside (0, 1), estimates > 0. The standard error of the
    logarithm is standard_error / snr_squared (delta method), so relative errors should be well below one; the intervals are Wald's.
    Raises ValueError for estimates <= 0: dropping them would bias the fit, `fit_leading_order_linear` takes them.
    """
    p, y, se = _points(pass_rate, snr_squared, standard_error)
    if (y <= 0).any():
        raise ValueError(
            f"snr_squared must be positive for the log fit, got {y[y <= 0][0]:g} at index [{np.argmax(y <= 0)}]; use "
            "fit_leading_order_linear, which takes estimates of either sign"
        )
    quantile = normal_quantile(confidence)
    design = np.stack([np.ones_like(p), np.log(p), np.log1p(-p)], axis=1) * (y / se)[:, None]
    target = np.log(y) * y / se
    orthogonal, triangular = np.linalg.qr(design)
    log_c, a, b = np.linalg.solve(triangular, orthogonal.T @ target)
    inverse = np.linalg.inv(triangular)
    covariance = inverse @ inverse.T
    half_width = quantile * np.sqrt(np.diag(covariance))
    return _assemble(
        p, y, se / y, np.log(y), np.array([log_c, a, b]), covariance, (a - half_width[1], a + half_width[1]),
        (b - half_width[2], b + half_width[2]), method="log", at_bound=(),
    )  # fmt: skip


def fit_leading_order_linear(
    pass_rate: ArrayLike, snr_squared: ArrayLike, standard_error: ArrayLike, *, confidence: float = 0.95
) -> LeadingOrderFit:
    """Weighted nonlinear least squares of SNR^2 = c p^a (1-p)^b, with c >= 0 in closed form and a, b in [-1, 10] (ours).

    An unbiased estimate of SNR^2 can be negative; this fit keeps such bins. Arguments as in `fit_leading_order`, estimates of either
    sign. The intervals invert the profile likelihood ratio, which stays honest where the information is weak and Wald's does not.
    Measured coverage of 95 % intervals with 11 bins: 94-97 % for standard errors up to 0.3 of the peak, 91-93 % at 0.6 to 1 of it. That is
    for bins of one pass rate each. Bins of k passes in K rollouts mix pass rates, and there the intervals may cover in no data set at all:
    `paced_theory.mixture` fits those.
    Raises ValueError where no exponents give a positive c: then the data do not show any signal.
    """
    p, y, se = _points(pass_rate, snr_squared, standard_error)
    quantile = normal_quantile(confidence)
    family = _beta_family(p)
    solution = solve(family, y, se)
    log_c, (a, b) = solution.log_c, solution.theta
    if not np.isfinite(log_c):
        raise ValueError(
            f"snr_squared shows no positive signal: c = 0 fits best for every a, b (weighted mean {np.average(y, weights=se**-2):g}); "
            "report the SNR as not distinguishable from zero"
        )
    log_shape, features = family.log_shape(solution.theta)
    jacobian = np.column_stack([np.ones_like(p), features]) * (np.exp(log_c + log_shape) / se)[:, None]
    covariance = np.asarray(np.linalg.pinv(jacobian.T @ jacobian), dtype=float)
    at_bound = tuple(name for name, value in (("a", a), ("b", b)) if value <= EXPONENT_LOWER or value >= EXPONENT_UPPER)
    return _assemble(
        p, y, se, y, np.array([log_c, a, b]), covariance, profile_interval(family, y, se, solution, 0, quantile),
        profile_interval(family, y, se, solution, 1, quantile), method="linear", at_bound=at_bound,
    )  # fmt: skip


def fit_leading_order_batch(pass_rate: ArrayLike, snr_squared: ArrayLike, standard_error: ArrayLike) -> FloatArray:
    """The estimates of `fit_leading_order_linear` for many data sets, without intervals: for bootstrap replicates.

    pass_rate, standard_error: (m,); snr_squared: (B, m). Returns (B, 3): log c, a, b, equal to those of the single fit. A replicate
    without positive signal gives (-inf, nan, nan), so that it is seen rather than dropped.
    """
    p = _interior("pass_rate", check_array("pass_rate", pass_rate, ndim=1, min_size=_MIN_POINTS))
    y = check_array("snr_squared", snr_squared, ndim=2)
    if y.shape[1] != p.size:
        raise ValueError(f"snr_squared must have shape (B, {p.size}) to match pass_rate, got {y.shape}")
    _distinct(p)
    family, se = _beta_family(p), check_errors(standard_error, p.shape)
    return np.array([[solution.log_c, *solution.theta] for solution in (solve(family, row, se) for row in y)])


def compare_models(pass_rate: ArrayLike, snr_squared: ArrayLike, standard_error: ArrayLike) -> list[ModelComparison]:
    """The leading-order form and its rivals fitted to the same SNR^2 estimates, in order of AIC (section 3 of the theory).

    Models, each with a free scale c >= 0: c p^a (1-p)^b; PACED's default c p(1-p); constant; Bernoulli entropy c H(p); c sqrt(p(1-p));
    Gaussian bump c exp(-(p - centre)^2 / (2 sigma^2)), sigma in [0.05, 10]; quadratic in logit p, c exp(t1 z + t2 z^2). All are fitted
    on the SNR^2 scale with weights 1/standard_error^2, so estimates may have either sign. Arguments as in `fit_leading_order_linear`.
    """
    p, y, se = _points(pass_rate, snr_squared, standard_error)
    fits: list[tuple[str, dict[str, float], float, str]] = []

    for name, shape in {
        "p(1-p)": p * (1 - p),
        "constant": np.ones_like(p),
        "Bernoulli entropy": special.entr(p) + special.entr(1 - p),
        "sqrt(p(1-p))": np.sqrt(p * (1 - p)),
    }.items():
        c = max(0.0, float((shape / se) @ (y / se) / ((shape / se) @ (shape / se))))
        fits.append((name, {"c": c}, float(np.sum(((y - c * shape) / se) ** 2)), "" if c > 0 else _NO_SIGNAL))

    beta = solve(_beta_family(p), y, se)
    fits.append(("p^a (1-p)^b", {"c": _scale(beta), "a": beta.theta[0], "b": beta.theta[1]}, beta.chi_squared, _problem(beta)))

    bump = solve(_gaussian_family(p), y, se)
    slope, minus_half_precision = bump.theta
    # A bump whose centre lies far outside [0, 1] has a peak that no data see and doubles may not hold.
    with np.errstate(over="ignore"):
        peak = float(np.exp(bump.log_c - slope**2 / (4 * minus_half_precision))) if np.isfinite(bump.log_c) else 0.0
    centre, sigma = float(0.5 - slope / (2 * minus_half_precision)), float((-2 * minus_half_precision) ** -0.5)
    far = "the bump's peak, far outside [0, 1], is beyond doubles" if np.isinf(peak) else ""
    fits.append(("Gaussian bump", {"c": peak, "centre": centre, "sigma": sigma}, bump.chi_squared, _problem(bump) or far))

    logit = solve(_logit_family(p), y, se)
    parameters = {"c": _scale(logit), "t1": logit.theta[0], "t2": logit.theta[1]}
    fits.append(("quadratic in logit p", parameters, logit.chi_squared, _problem(logit)))

    best = min(chi + 2 * len(parameters) for _, parameters, chi, _ in fits)
    rows = []
    for name, parameters, chi, problem in fits:
        k = len(parameters)
        values = {key: float(value) for key, value in parameters.items()}
        rows.append(ModelComparison(name, values, chi, chi + 2 * k, chi + k * float(np.log(p.size)), chi + 2 * k - best, problem))
    return sorted(rows, key=lambda row: row.aic)


def _problem(solution: Solution) -> str:
    return solution.problem if np.isfinite(solution.log_c) else _NO_SIGNAL


def _scale(solution: Solution) -> float:
    return float(np.exp(solution.log_c))


def _beta_family(p: FloatArray) -> Family:
    lower, upper = np.full(2, EXPONENT_LOWER), np.full(2, EXPONENT_UPPER)
    return linear_family(np.stack([np.log(p), np.log1p(-p)], axis=1), lower, upper, box_grid(lower, upper, _GRID_NODES))


def _gaussian_family(p: FloatArray) -> Family:
    """exp(t1 (p - 1/2) + t2 (p - 1/2)^2) with t2 = -1/(2 sigma^2); the nodes are centres in and around [0, 1] by widths."""
    centre, sigma = np.meshgrid(np.linspace(-0.5, 1.5, 21), np.geomspace(0.05, 10.0, 21), indexing="ij")
    t2 = -0.5 / sigma.ravel() ** 2
    grid = np.stack([-2 * t2 * (centre.ravel() - 0.5), t2], axis=1)
    return linear_family(np.stack([p - 0.5, (p - 0.5) ** 2], axis=1), np.array([-400.0, -200.0]), np.array([400.0, -0.005]), grid)


def _logit_family(p: FloatArray) -> Family:
    z = special.logit(p)
    lower, upper = np.array([-10.0, -10.0]), np.array([10.0, 2.0])
    return linear_family(np.stack([z, z**2], axis=1), lower, upper, box_grid(lower, upper, 41))


def _assemble(
    p: FloatArray,
    y: FloatArray,
    sigma: FloatArray,
    response: FloatArray,
    estimate: FloatArray,
    covariance: FloatArray,
    a_interval: tuple[float, float],
    b_interval: tuple[float, float],
    *,
    method: str,
    at_bound: tuple[str, ...],
) -> LeadingOrderFit:
    """Diagnostics common to both fits; `response` is log y or y, `sigma` its standard error."""
    log_c, a, b = (float(v) for v in estimate)
    log_fit = log_c + a * np.log(p) + b * np.log1p(-p)
    fitted = log_fit if method == "log" else np.exp(log_fit)
    weights = sigma**-2
    chi_squared = float(np.sum(weights * (response - fitted) ** 2))
    total = float(np.sum(weights * (response - np.average(response, weights=weights)) ** 2))
    varies = np.ptp(response) > 1e-12 * np.abs(response).max()
    osc = oscillation(np.log(y) - log_fit) if (y > 0).all() else float("inf")
    errors = np.sqrt(np.diag(covariance))
    return LeadingOrderFit(
        log_c=log_c, a=a, b=b, se_log_c=float(errors[0]), se_a=float(errors[1]), se_b=float(errors[2]),
        a_low=a_interval[0], a_high=a_interval[1], b_low=b_interval[0], b_high=b_interval[1],
        covariance=covariance, r_squared=1 - chi_squared / total if varies else float("nan"), chi_squared=chi_squared,
        oscillation=osc, guaranteed_efficiency=guaranteed_efficiency(osc) if np.isfinite(osc) else 0.0,
        aic=chi_squared + 2 * 3, bic=chi_squared + 3 * float(np.log(p.size)), method=method, at_bound=at_bound,
    )  # fmt: skip


def _points(pass_rate: ArrayLike, snr_squared: ArrayLike, standard_error: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    p = _interior("pass_rate", check_array("pass_rate", pass_rate, ndim=1, min_size=_MIN_POINTS))
    _distinct(p)
    y = check_array("snr_squared", snr_squared, ndim=1)
    if y.shape != p.shape:
        raise ValueError(f"snr_squared must have the shape of pass_rate, {p.shape}, got {y.shape}")
    se = check_errors(standard_error, p.shape)
    for name, values in (("snr_squared", np.abs(y).max()), ("standard_error", se.min()), ("standard_error", se.max())):
        if values != 0 and not 1e-50 <= values <= 1e50:  # products of four of them must stay within doubles
            raise ValueError(f"{name} must be of a size between 1e-50 and 1e50, got {values:g}; rescale both arrays, only log c changes")
    return p, y, se


def _interior(name: str, value: ArrayLike) -> FloatArray:
    p = check_pass_rate(name, value)
    outside = (p <= 0) | (p >= 1)
    if outside.any():
        raise ValueError(
            f"{name} must lie strictly inside (0, 1) for a logarithm, got {p[outside].flat[0]:g}; for a bin of problems with no (or only) "
            "successes give its posterior mean, (k + 1)/(K + 2) under a uniform prior"
        )
    return p


def _distinct(p: FloatArray) -> None:
    if np.unique(p).size < _MIN_POINTS:
        raise ValueError(f"pass_rate must hold at least {_MIN_POINTS} different values to fit three parameters, got {np.unique(p).size}")
