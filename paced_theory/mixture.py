"""Exponents of SNR^2 through the binomial mixture: a bin of k passes in K rollouts holds problems of many pass rates.

A curve read at p = k/K is the curve of something else: at K = 10, n = 2,000 problems a bin and SNR^2 ~ p(1-p), 95 % intervals that ignore
the mixture cover the truth in one data set of ten or fewer. `fit_pass_rate_law` finds the law of pass rates in the counts of all problems
drawn; `fit_through_mixture` fits c p^a (1-p)^b to what bins show of it (ours).

What a bin shows. With s(p) = ||E[g|p]|| and m(p) = tr Cov(g|p), SNR^2(p) = s^2/m. The bin's mean gradient is E_B[mu(p)], whose length is
E_B[s] where the directions agree, and its noise is E_B[m] plus the spread of mu, which is smaller by a factor of SNR^2. So

    SNR^2_B = E_B[sqrt(f m)]^2 / E_B[m],     f = c p^a (1-p)^b       ("common direction", the default).

Directions that turn within a bin make its mean shorter, never longer; the fit then reads a weaker signal there. E_B[f m] / E_B[m] ("mean
square") would hold if bins averaged squared lengths, which the mean of n gradients never does: it is offered to show how much hangs on it.
On the committed records that is at most 0.03 of an exponent with constant noise, and 0.10 of a and 0.31 of b with the noise given.

Intervals: simulated from gradients to fit (`paced_theory.coverage.exponents`), those of 95 % covered each exponent in 0.92 or more of 120 data
sets a setting, at (1, 1), (0.33, 0.43) and (0, 0), n = 500 and 2,000, log-norm sd up to 1.2. Coverage is no precision: at (1, 1) with n = 500
and heavy tails the median interval is 7 wide. They do not know that the form may be wrong: read chi-squared first.

Below p of about 1/K the law is an extrapolation of its family, and the exponents inherit that.

Axes: m bins, J nodes of the pass rate.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from paced_theory._checks import (
    FloatArray,
    check_array,
    check_choice,
    check_errors,
    check_fraction,
    check_int,
    check_pass_rate,
    normal_quantile,
)
from paced_theory._separable import Family, box_grid, profile_intervals, solve
from paced_theory.pass_rate_law import Cells, cells_of
from paced_theory.pass_rate_law import PassRateLaw as PassRateLaw
from paced_theory.pass_rate_law import fit_pass_rate_law as fit_pass_rate_law

EXPONENT_LOWER = -1.0
EXPONENT_UPPER = 10.0
_GRID_NODES = 34  # 1/3 apart over [-1, 10]: the searches start from the best, so they need the basin only
_LEAST_BINS = 4
_SIGNALS = ("common direction", "mean square")


@dataclass(frozen=True)
class MixtureFit:
    """SNR^2 = c p^a (1-p)^b fitted to bins that mix pass rates.

    log_c, a, b: least-squares estimates. a_low .. b_high: two-sided intervals at `confidence`. a_upper, b_upper, a_lower, b_lower: one-sided
    bounds at `confidence`: an exponent as large as a_upper is not excluded. All of them invert the profile of chi^2 and are widened by
    `scale` = sqrt(max(1, chi_squared / degrees_of_freedom)): errors that the form does not explain count as noise. An end equal to
    that of the box [-1, 10] means that the data do not bound the exponent on that side.
    chi_squared, degrees_of_freedom, chi_squared_p: the test of the form; a small p-value says that it does not fit, whatever the intervals.
    noise_a, noise_b: exponents of m(p), 0 where no noise was given. at_bound: the exponents ("a", "b") pinned at an end of the box.
    fitted: (m,) SNR^2 of each bin under the fit. problem: "" or why the search may not have ended at the minimum.
    """

    log_c: float
    a: float
    b: float
    a_low: float
    a_high: float
    b_low: float
    b_high: float
    a_lower: float
    a_upper: float
    b_lower: float
    b_upper: float
    chi_squared: float
    degrees_of_freedom: int
    chi_squared_p: float
    scale: float
    noise_a: float
    noise_b: float
    signal: str
    confidence: float
    at_bound: tuple[str, ...]
    fitted: FloatArray
    problem: str

    def snr_squared(self, pass_rate: ArrayLike) -> FloatArray:
        """The curve itself, c p^a (1-p)^b, at pass rates in [0, 1]: what problems of that pass rate alone would show."""
        p = check_pass_rate("pass_rate", pass_rate)
        return np.asarray(np.exp(self.log_c + special.xlogy(self.a, p) + special.xlog1py(self.b, -p)))


def fit_through_mixture(
    passes: Cells | None,
    rollouts: int,
    law: PassRateLaw,
    snr_squared: ArrayLike,
    standard_error: ArrayLike,
    *,
    noise: ArrayLike | None = None,
    signal: str = "common direction",
    confidence: float = 0.95,
) -> MixtureFit:
    """Weighted least squares of SNR^2 = c p^a (1-p)^b through what each bin mixes (see the module's docstring).

    passes: the counts k of each of the m bins, m >= 4, all of them where it is None (then m = K + 1); bins without an estimate are left out of
    all arguments alike. rollouts: K. law: from `fit_pass_rate_law`, on the same K. snr_squared: (m,) estimates of either sign;
    standard_error: (m,), half the width of a 95 % interval over 1.96 where the interval is not symmetric. noise: (m,) each bin's tr Cov or mean
    squared norm, from which m(p) = m0 p^g (1-p)^h is fitted through the same mixture; without it m is constant.
    Raises ValueError for shapes that disagree and where no exponents give a positive c: then the data do not show any signal.
    """
    if law.rollouts != check_int("rollouts", rollouts, 2):
        raise ValueError(f"law must be of the same number of rollouts as the bins, {rollouts}, got {law.rollouts}")
    check_choice("signal", signal, _SIGNALS)
    cells = cells_of(passes, rollouts, cover=False)
    if len(cells) < _LEAST_BINS:
        raise ValueError(f"passes must name at least {_LEAST_BINS} bins to fit three parameters, got {len(cells)}")
    return fit_through_posterior(
        law, law.posterior(cells), snr_squared, standard_error, noise=noise, signal=signal, confidence=confidence
    )  # fmt: skip


def fit_through_posterior(
    law: PassRateLaw,
    posterior: FloatArray,
    snr_squared: ArrayLike,
    standard_error: ArrayLike,
    *,
    noise: ArrayLike | None = None,
    signal: str = "common direction",
    confidence: float = 0.95,
) -> MixtureFit:
    """`fit_through_mixture` where what each bin mixes is known in another way than by its counts of K.

    posterior: (m, J) the law of the pass rates of each bin's problems over the nodes of `law`, rows summing to 1, m >= 4, such as means over
    problems of `paced_theory.screened_law.outcome_posterior`. Raises ValueError as that function does.
    """
    check_choice("signal", signal, _SIGNALS)
    bins = len(posterior)
    if bins < _LEAST_BINS or posterior.shape != (bins, law.mass.size):
        raise ValueError(
            f"posterior must have at least {_LEAST_BINS} rows to fit three parameters, over the {law.mass.size} nodes of the law, got shape "
            f"{posterior.shape}"
        )
    y = check_array("snr_squared", snr_squared, ndim=1)
    if y.shape != (bins,):
        raise ValueError(f"snr_squared must have one entry for each of the {bins} bins, got shape {y.shape}")
    se = check_errors(standard_error, y.shape)
    noise_exponents = np.zeros(2) if noise is None else _noise_exponents(law, posterior, noise)
    family = _mixture_family(law, posterior, noise_exponents, signal)
    solution = solve(family, y, se)
    if not np.isfinite(solution.log_c):
        raise ValueError(
            f"snr_squared shows no positive signal: c = 0 fits best for every a, b (weighted mean {np.average(y, weights=se**-2):g}); "
            "report the SNR as not distinguishable from zero"
        )
    left = y.size - 3
    scale = float(np.sqrt(max(1.0, solution.chi_squared / left)))
    two_sided = scale * normal_quantile(confidence)
    one_sided = scale * float(special.ndtri(check_fraction("confidence", confidence)))
    (a_bounds, a_interval), (b_bounds, b_interval) = (
        profile_intervals(family, y, se, solution, which, (one_sided, two_sided)) for which in (0, 1)
    )
    a, b = (float(v) for v in solution.theta)
    return MixtureFit(
        log_c=solution.log_c, a=a, b=b, a_low=a_interval[0], a_high=a_interval[1], b_low=b_interval[0], b_high=b_interval[1],
        a_lower=a_bounds[0], a_upper=a_bounds[1], b_lower=b_bounds[0], b_upper=b_bounds[1],
        chi_squared=solution.chi_squared, degrees_of_freedom=left, chi_squared_p=float(special.chdtrc(left, solution.chi_squared)),
        scale=scale, noise_a=float(noise_exponents[0]), noise_b=float(noise_exponents[1]), signal=signal, confidence=confidence,
        at_bound=tuple(name for name, value in (("a", a), ("b", b)) if value <= EXPONENT_LOWER or value >= EXPONENT_UPPER),
        fitted=np.exp(solution.log_c + family.log_shape(solution.theta)[0]), problem=solution.problem,
    )  # fmt: skip


def _noise_exponents(law: PassRateLaw, posterior: FloatArray, noise: ArrayLike) -> FloatArray:
    """Exponents (g, h) of m(p) = m0 p^g (1-p)^h by least squares of log E_B[m], every bin alike."""
    m = check_array("noise", noise, ndim=1)
    if m.shape != (len(posterior),) or (m <= 0).any():
        raise ValueError(f"noise must be {len(posterior)} numbers > 0, one for each bin, got {m.tolist()}")
    features = np.column_stack([law.log_pass_rate, law.log_failure_rate])

    def residual(parameters: FloatArray) -> FloatArray:
        exponent = features @ parameters[1:]
        top = exponent.max()
        return np.asarray(parameters[0] + top + np.log(posterior @ np.exp(exponent - top)) - np.log(m))

    start = np.array([np.log(m).mean(), 0.0, 0.0])
    found = optimize.least_squares(residual, start, bounds=([-np.inf, EXPONENT_LOWER, EXPONENT_LOWER], [np.inf, *[EXPONENT_UPPER] * 2]))
    return np.asarray(found.x[1:])


def _mixture_family(law: PassRateLaw, posterior: FloatArray, noise_exponents: FloatArray, signal: str) -> Family:
    """Shapes E_B[sqrt(f m)]^2 / E_B[m], or E_B[f m] / E_B[m], with m = p^g (1-p)^h."""
    features = np.column_stack([law.log_pass_rate, law.log_failure_rate])
    power = 0.5 if signal == "common direction" else 1.0
    log_m = features @ noise_exponents
    log_noise = np.log(posterior @ np.exp(log_m - log_m.max())) + log_m.max()

    def log_shape(theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        exponent = power * (features @ theta + log_m)
        top = exponent.max()
        weighted = posterior * np.exp(exponent - top)
        total = weighted.sum(axis=1)
        return (np.log(total) + top) / power - log_noise, weighted @ features / total[:, None]

    lower, upper = np.full(2, EXPONENT_LOWER), np.full(2, EXPONENT_UPPER)
    grid = box_grid(lower, upper, _GRID_NODES)
    side = np.linspace(EXPONENT_LOWER, EXPONENT_UPPER, _GRID_NODES)
    from_p, from_q = (np.exp(power * np.multiply.outer(side, column)) for column in features.T)
    base = posterior * np.exp(power * log_m)
    means = np.stack([(from_p * row) @ from_q.T for row in base], axis=-1)
    return Family(log_shape, lower, upper, grid, np.log(means).reshape(len(grid), -1) / power - log_noise)
