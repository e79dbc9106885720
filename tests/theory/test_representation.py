"""Leading-order fits, rivals, boundary exponents and the remainder, against scipy's fits, brute force and closed forms."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from paced_theory import _separable
from paced_theory.representation import (
    boundary_exponent,
    boundary_exponents,
    compare_models,
    counterexample,
    fit_leading_order,
    fit_leading_order_batch,
    fit_leading_order_linear,
    guaranteed_efficiency,
    log_log_slope,
    oscillation,
    remainder,
)
from paced_theory.robustness import aggregate_efficiency

COMMON = settings(deadline=None, max_examples=30, derandomize=True)
BINS = (np.arange(11) + 0.5) / 11

exponents = st.floats(-0.8, 6.0)
scales = st.floats(-8.0, 4.0)


def curve(p, log_c, a, b):
    return np.exp(log_c) * p**a * (1 - p) ** b


def noisy(seed, relative, log_c=-4.0, a=1.0, b=1.5, p=BINS):
    """A curve with Gaussian noise of `relative` times its peak in every bin."""
    truth = curve(p, log_c, a, b)
    se = np.full(p.size, relative * truth.max())
    return truth + np.random.default_rng(seed).normal(size=p.size) * se, se


# --- recovery and independent fits ---------------------------------------------------------------------------------------------------


@COMMON
@given(log_c=scales, a=exponents, b=exponents)
def test_noise_free_data_are_recovered_by_all_three_fits(log_c, a, b):
    y = curve(BINS, log_c, a, b)
    se = 0.01 * y
    for fit in (fit_leading_order(BINS, y, se), fit_leading_order_linear(BINS, y, se)):
        assert (fit.log_c, fit.a, fit.b) == pytest.approx((log_c, a, b), abs=1e-7)
        assert fit.chi_squared < 1e-9
        assert fit.oscillation < 1e-6
        assert fit.guaranteed_efficiency == pytest.approx(1, abs=1e-11)
        assert fit.at_bound == ()
    assert fit_leading_order_batch(BINS, y[None], se)[0] == pytest.approx((log_c, a, b), abs=1e-7)


def test_log_fit_equals_scipy_curve_fit_on_logarithms():
    y, se = noisy(3, 0.02)
    fit = fit_leading_order(BINS, y, se)

    def model(p, log_c, a, b):
        return log_c + a * np.log(p) + b * np.log(1 - p)

    best, covariance = optimize.curve_fit(model, BINS, np.log(y), sigma=se / y, absolute_sigma=True)
    assert (fit.log_c, fit.a, fit.b) == pytest.approx(best, abs=1e-7)
    assert fit.covariance == pytest.approx(covariance, rel=1e-5)
    assert (fit.se_log_c, fit.se_a, fit.se_b) == pytest.approx(np.sqrt(np.diag(covariance)), rel=1e-5)
    z = stats.norm.ppf(0.975)
    assert (fit.a_low, fit.a_high) == pytest.approx((fit.a - z * fit.se_a, fit.a + z * fit.se_a))
    assert (fit.b_low, fit.b_high) == pytest.approx((fit.b - z * fit.se_b, fit.b + z * fit.se_b))
    assert fit.method == "log"


def test_linear_fit_equals_scipy_curve_fit():
    y, se = noisy(4, 0.05)
    se = se * np.linspace(0.5, 2, 11)  # unequal weights
    fit = fit_leading_order_linear(BINS, y, se)
    best, covariance = optimize.curve_fit(curve, BINS, y, p0=(-3, 1, 1), sigma=se, absolute_sigma=True, xtol=1e-14, ftol=1e-14)
    assert (fit.log_c, fit.a, fit.b) == pytest.approx(best, abs=1e-6)
    assert fit.covariance == pytest.approx(covariance, rel=1e-4)
    assert (fit.se_log_c, fit.se_a, fit.se_b) == pytest.approx(np.sqrt(np.diag(covariance)), rel=1e-4)
    assert fit.method == "linear"


def test_diagnostics_follow_their_definitions():
    y, se = noisy(5, 0.05)
    for fit in (fit_leading_order(BINS, y, se), fit_leading_order_linear(BINS, y, se)):
        model = curve(BINS, fit.log_c, fit.a, fit.b)
        if fit.method == "log":
            residual, weights, response = np.log(y / model), (y / se) ** 2, np.log(y)
        else:
            residual, weights, response = y - model, se**-2, y
        chi = np.sum(weights * residual**2)
        total = np.sum(weights * (response - np.average(response, weights=weights)) ** 2)
        assert fit.chi_squared == pytest.approx(chi)
        assert fit.r_squared == pytest.approx(1 - chi / total)
        assert fit.aic == pytest.approx(chi + 6)
        assert fit.bic == pytest.approx(chi + 3 * math.log(11))
        log_ratio = np.log(y / model)
        assert fit.oscillation == pytest.approx(log_ratio.max() - log_ratio.min())
        assert fit.guaranteed_efficiency == pytest.approx(1 / math.cosh(fit.oscillation / 2) ** 2)
        assert fit.snr_squared([0.3, 0.7]) == pytest.approx(curve(np.array([0.3, 0.7]), fit.log_c, fit.a, fit.b))
        assert fit.snr_squared([0.0, 1.0]).tolist() == [0.0, 0.0]


def test_a_constant_curve_has_no_r_squared():
    fit = fit_leading_order_linear(BINS, np.ones(11), np.full(11, 0.1))
    assert math.isnan(fit.r_squared)
    assert (fit.a, fit.b) == pytest.approx((0, 0), abs=1e-9)
    assert fit.snr_squared([0.0, 1.0]) == pytest.approx([1.0, 1.0], abs=1e-6)


def test_negative_estimates_are_used_and_leave_no_guarantee():
    y, se = noisy(0, 0.1)
    y[0] = -0.5 * se[0]
    fit = fit_leading_order_linear(BINS, y, se)
    assert fit.oscillation == math.inf and fit.guaranteed_efficiency == 0
    without = fit_leading_order_linear(BINS[1:], y[1:], se[1:])
    assert fit.a > without.a  # the negative bin pulls the exponent up: dropping it would bias a down


@COMMON
@given(seed=st.integers(0, 10_000), log_scale=st.floats(-20, 20))
def test_scale_and_reflection(seed, log_scale):
    y, se = noisy(seed, 0.1)
    fit = fit_leading_order_linear(BINS, y, se)
    scale = math.exp(log_scale)
    scaled = fit_leading_order_linear(BINS, scale * y, scale * se)
    mirrored = fit_leading_order_linear(1 - BINS, y, se)
    assert (scaled.a, scaled.b, scaled.log_c - log_scale) == pytest.approx((fit.a, fit.b, fit.log_c), abs=1e-6)
    assert (mirrored.b, mirrored.a, mirrored.log_c) == pytest.approx((fit.a, fit.b, fit.log_c), abs=1e-6)
    assert (mirrored.b_low, mirrored.b_high) == pytest.approx((fit.a_low, fit.a_high), abs=1e-5)


@COMMON
@given(seed=st.integers(0, 10_000), relative=st.sampled_from([0.05, 0.3, 1.0, 3.0]))
def test_no_point_of_a_dense_grid_fits_better(seed, relative):
    rng = np.random.default_rng(seed)
    p = np.sort(rng.uniform(0.02, 0.98, int(rng.integers(5, 15))))
    y = np.stack([noisy(int(s), relative, a=rng.uniform(0, 3), b=rng.uniform(0, 3), p=p)[0] for s in rng.integers(0, 1 << 30, 4)])
    se = np.full(p.size, 0.01) * rng.uniform(0.5, 2, p.size)
    estimate = fit_leading_order_batch(p, y, se)
    a, b = (g.ravel() for g in np.meshgrid(np.linspace(-1, 10, 111), np.linspace(-1, 10, 111)))
    shapes = p ** a[:, None] * (1 - p) ** b[:, None] / se
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    total = np.sum((y / se) ** 2, axis=1)
    best_on_grid = total - np.maximum(shapes @ (y / se).T, 0).max(axis=0) ** 2
    with_signal = np.isfinite(estimate[:, 0])
    model = np.array([curve(p, *row) if fine else 0 * p for row, fine in zip(estimate, with_signal, strict=True)])
    reached = np.sum(((y - model) / se) ** 2, axis=1)
    assert (reached <= best_on_grid + 1e-9 * total).all()
    assert (best_on_grid[~with_signal] >= total[~with_signal] * (1 - 1e-9)).all()


# --- the batch ------------------------------------------------------------------------------------------------------------------------


def test_batch_rows_equal_single_fits_and_a_row_without_signal_is_marked():
    rows = np.stack([noisy(seed, 0.2)[0] for seed in range(5)] + [-np.ones(11)])
    se = noisy(0, 0.2)[1]
    estimates = fit_leading_order_batch(BINS, rows, se)
    assert estimates.shape == (6, 3)
    for row, estimate in zip(rows[:5], estimates, strict=False):
        single = fit_leading_order_linear(BINS, row, se)
        assert estimate == pytest.approx((single.log_c, single.a, single.b), abs=1e-8)
    assert estimates[5, 0] == -math.inf and np.isnan(estimates[5, 1:]).all()
    with pytest.raises(ValueError, match="no positive signal"):
        fit_leading_order_linear(BINS, rows[5], se)


def test_the_same_data_give_the_same_bits():
    y, se = noisy(8, 0.3)
    first, second = (dataclasses.asdict(fit_leading_order_linear(BINS, y, se)) for _ in range(2))
    assert first.pop("covariance").tobytes() == second.pop("covariance").tobytes()
    assert first == second


def test_a_search_that_does_not_converge_says_so_and_ends(monkeypatch):
    monkeypatch.setattr(_separable, "_EVALUATIONS", 1)
    rows = {row.name: row for row in compare_models(BINS, *noisy(8, 0.3))}
    assert rows["p^a (1-p)^b"].problem == "the search had not converged after 1 evaluations"
    assert rows["constant"].problem == ""
    assert all(math.isfinite(row.aic) for row in rows.values())


@pytest.mark.parametrize("bins", [11, 5])
def test_one_end_bin_alone_with_signal_never_stops_the_comparison(bins):
    rate = (np.arange(bins) + 0.5) / bins
    for seed in range(300):
        y = np.where(np.arange(bins) == (bins - 1) * (seed % 2), 0.01, 0.0) + 5e-4 * np.random.default_rng(seed).standard_normal(bins)
        rows = compare_models(rate, y, np.full(bins, 5e-4))
        assert {row.name for row in rows} == set(RIVALS)
        assert all(math.isfinite(row.chi_squared) for row in rows)
        best_alone = min(row.chi_squared for row in rows if row.name in ("constant", "p(1-p)", "sqrt(p(1-p))"))
        assert next(row for row in rows if row.name == "p^a (1-p)^b").chi_squared <= best_alone * (1 + 1e-9)


@COMMON
@given(
    values=st.lists(st.floats(-1, 1) | st.floats(-1e40, 1e40), min_size=5, max_size=5),
    errors=st.lists(st.floats(1e-3, 1) | st.floats(1e-40, 1e40), min_size=5, max_size=5),
)
def test_the_comparison_ends_for_any_finite_numbers(values, errors):
    values = [0.0 if abs(value) < 1e-40 else value for value in values]
    rows = compare_models((np.arange(5) + 0.5) / 5, values, errors)
    for row in rows:
        assert math.isfinite(row.chi_squared) and row.delta_aic >= 0
        assert row.problem or all(math.isfinite(value) for value in row.parameters.values())


# --- intervals ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("relative", "confidence"), [(0.03, 0.95), (0.3, 0.95), (0.3, 0.5)])
def test_interval_ends_solve_the_profile_likelihood_equation(relative, confidence):
    y, se = noisy(21, relative)
    fit = fit_leading_order_linear(BINS, y, se, confidence=confidence)

    def profile(name, value):
        """chi^2 minimised over log c and the other exponent by scipy."""

        def chi(free):
            a, b = (value, free[1]) if name == "a" else (free[1], value)
            return np.sum(((y - curve(BINS, free[0], a, b)) / se) ** 2)

        start = (fit.log_c, fit.b if name == "a" else fit.a)
        options = {"xatol": 1e-9, "fatol": 1e-11, "maxiter": 4000}
        return optimize.minimize(chi, start, method="Nelder-Mead", options=options).fun

    rise = stats.chi2.ppf(confidence, 1)
    for name, ends in (("a", (fit.a_low, fit.a_high)), ("b", (fit.b_low, fit.b_high))):
        for end in ends:
            assert profile(name, end) - fit.chi_squared == pytest.approx(rise, rel=0.02)


@pytest.mark.parametrize("relative", [0.05, 0.3])
def test_linear_intervals_cover_at_their_nominal_rate(relative):
    truth, trials = (1.0, 1.5), 150
    hits = np.zeros(2, dtype=int)
    for seed in range(trials):
        fit = fit_leading_order_linear(BINS, *noisy(seed, relative))
        hits += [fit.a_low <= truth[0] <= fit.a_high, fit.b_low <= truth[1] <= fit.b_high]
    for count in hits:
        assert stats.binomtest(int(count), trials, 0.95).pvalue > 0.01, hits


def test_log_intervals_cover_at_their_nominal_rate():
    trials, hits = 1000, np.zeros(2, dtype=int)
    truth = curve(BINS, -4.0, 1.0, 1.5)
    rng = np.random.default_rng(0)
    for _ in range(trials):
        y = truth * (1 + 0.05 * rng.normal(size=11))
        fit = fit_leading_order(BINS, y, 0.05 * truth)
        hits += [fit.a_low <= 1.0 <= fit.a_high, fit.b_low <= 1.5 <= fit.b_high]
    for count in hits:
        assert stats.binomtest(int(count), trials, 0.95).pvalue > 0.01, hits


@COMMON
@given(seed=st.integers(0, 10_000), relative=st.sampled_from([0.1, 0.5, 2.0]))
def test_intervals_contain_their_estimate_and_widen_with_confidence(seed, relative):
    y, se = noisy(seed, relative)
    y[5] = abs(y[5]) + se[5]  # some signal, so that a fit exists
    narrow, wide = (fit_leading_order_linear(BINS, y, se, confidence=level) for level in (0.5, 0.95))
    for fit in (narrow, wide):
        assert -1 <= fit.a_low <= fit.a <= fit.a_high <= 10
        assert -1 <= fit.b_low <= fit.b <= fit.b_high <= 10
    assert wide.a_low <= narrow.a_low and narrow.a_high <= wide.a_high
    assert wide.b_low <= narrow.b_low and narrow.b_high <= wide.b_high


@pytest.mark.parametrize(("a", "b", "name", "pinned"), [(14.0, 1.0, "a", 10.0), (1.0, -2.0, "b", -1.0)])
def test_exponents_outside_the_box_are_flagged(a, b, name, pinned):
    y = curve(BINS, 1.0, a, b)
    fit = fit_leading_order_linear(BINS, y, np.full(11, 1e-3 * y.max()))
    assert name in fit.at_bound
    assert getattr(fit, name) == pinned
    assert pinned in (getattr(fit, f"{name}_low"), getattr(fit, f"{name}_high"))


# --- rivals ---------------------------------------------------------------------------------------------------------------------------

RIVALS = {
    "p^a (1-p)^b": (lambda p: 0.7 * p**1.7 * (1 - p) ** 0.6, {"c": 0.7, "a": 1.7, "b": 0.6}),
    "p(1-p)": (lambda p: 0.2 * p * (1 - p), {"c": 0.2}),
    "constant": (lambda p: np.full_like(p, 0.2), {"c": 0.2}),
    "Bernoulli entropy": (lambda p: -0.3 * (p * np.log(p) + (1 - p) * np.log(1 - p)), {"c": 0.3}),
    "sqrt(p(1-p))": (lambda p: 0.3 * np.sqrt(p * (1 - p)), {"c": 0.3}),
    "Gaussian bump": (lambda p: 0.4 * np.exp(-((p - 0.35) ** 2) / (2 * 0.15**2)), {"c": 0.4, "centre": 0.35, "sigma": 0.15}),
    "quadratic in logit p": (
        lambda p: 0.4 * np.exp(0.8 * np.log(p / (1 - p)) - 0.3 * np.log(p / (1 - p)) ** 2),
        {"c": 0.4, "t1": 0.8, "t2": -0.3},
    ),
}


@pytest.mark.parametrize("name", RIVALS)
def test_every_model_wins_on_its_own_data_and_is_recovered(name):
    shape, parameters = RIVALS[name]
    y = shape(BINS)
    rows = compare_models(BINS, y, np.full(11, 1e-4))
    assert rows[0].name == name
    assert rows[0].parameters == pytest.approx(parameters, rel=1e-5)
    assert rows[0].delta_aic == 0
    assert {row.name for row in rows} == set(RIVALS)


def test_comparison_follows_its_definitions():
    y, se = noisy(2, 0.2)
    y[0] = -abs(y[0])
    rows = {row.name: row for row in compare_models(BINS, y, se)}
    assert [row.aic for row in rows.values()] == sorted(row.aic for row in rows.values())
    for row in rows.values():
        k = len(row.parameters)
        assert row.aic == pytest.approx(row.chi_squared + 2 * k)
        assert row.bic == pytest.approx(row.chi_squared + k * math.log(11))
        assert row.delta_aic == pytest.approx(row.aic - min(r.aic for r in rows.values()))
    assert rows["constant"].parameters["c"] == pytest.approx(np.average(y, weights=se**-2))
    for name in ("p(1-p)", "constant", "sqrt(p(1-p))"):  # special cases of the leading-order form
        assert rows["p^a (1-p)^b"].chi_squared <= rows[name].chi_squared + 1e-9
    fit = fit_leading_order_linear(BINS, y, se)
    leading = rows["p^a (1-p)^b"]
    assert leading.parameters == pytest.approx({"c": math.exp(fit.log_c), "a": fit.a, "b": fit.b})
    assert (leading.chi_squared, leading.aic, leading.bic) == pytest.approx((fit.chi_squared, fit.aic, fit.bic))
    bump = rows["Gaussian bump"]

    def gaussian(p, c, centre, sigma):
        return c * np.exp(-((p - centre) ** 2) / (2 * sigma**2))

    best, _ = optimize.curve_fit(gaussian, BINS, y, p0=(0.003, 0.4, 0.2), sigma=se, absolute_sigma=True)
    assert tuple(bump.parameters.values()) == pytest.approx(best, rel=1e-4)


def test_a_bump_of_data_without_a_peak_is_as_wide_as_allowed():
    rows = {row.name: row for row in compare_models(BINS, 1 + 4 * (BINS - 0.5) ** 2, np.full(11, 0.1))}
    bump = rows["Gaussian bump"].parameters
    assert bump["sigma"] == pytest.approx(10) and math.isfinite(bump["c"]) and math.isfinite(bump["centre"])


def test_data_without_signal_give_a_zero_scale_for_every_rival():
    rows = compare_models(BINS, -np.ones(11), np.ones(11))
    assert all(row.parameters["c"] == 0 for row in rows)
    assert all(row.chi_squared == pytest.approx(11) for row in rows)


# --- boundary exponents, remainder, counter-example -----------------------------------------------------------------------------------


@COMMON
@given(a=st.floats(0, 8), b=st.floats(0, 8), amplitude=st.floats(-2, 2), frequency=st.floats(0.1, 6))
def test_boundary_exponents_and_limits_of_the_remainder(a, b, amplitude, frequency):
    def r(p):
        return amplitude * np.cos(frequency * p)

    at_0, at_1 = boundary_exponents(lambda p: p**a * (1 - p) ** b * np.exp(r(p)))
    assert at_0.is_power_law and at_1.is_power_law
    assert (at_0.exponent, at_1.exponent) == pytest.approx((a, b), abs=1e-8)
    assert (at_0.log_constant, at_1.log_constant) == pytest.approx((r(0.0), r(1.0)), abs=1e-6)


def test_fractional_corrections_are_extrapolated():
    found = boundary_exponent(lambda x: x**1.5 * (1 + x**0.6), depth=40)
    assert found.is_power_law and found.exponent == pytest.approx(1.5, abs=1e-10)
    plain = boundary_exponent(lambda x: x**1.5 / (1 + x**0.2), depth=40)
    assert plain.exponent == pytest.approx(1.5, abs=1e-4)
    assert not plain.is_power_law  # x^0.2 has not decayed at 2^-40
    assert boundary_exponent(lambda x: x**1.5 / (1 + x**0.2), depth=200).is_power_law


def test_the_function_is_asked_at_dyadic_points_and_drift_follows_its_definition():
    asked = []

    def f(x):
        asked.append(x)
        return counterexample(x)

    found = boundary_exponent(f, depth=20)
    levels = np.arange(1, 21)
    assert asked[0].tolist() == (0.5**levels).tolist()
    constants = np.log(counterexample(0.5**levels)) + found.exponent * math.log(2) * levels
    assert found.log_constant == pytest.approx(constants[19])
    assert found.drift == pytest.approx(abs(constants[19] - constants[9]))


def test_counterexample_vanishes_at_both_ends_but_is_no_power_law_at_zero():
    assert counterexample([0.0, 1.0]).tolist() == [0.0, 0.0]
    assert counterexample(0.5) == pytest.approx(0.5 * math.log(2))
    at_0, at_1 = boundary_exponents(counterexample)
    assert not at_0.is_power_law and at_0.drift > 0.1
    assert at_1.is_power_law and at_1.exponent == pytest.approx(1, abs=1e-9)
    p = 10.0 ** -np.array([2, 30, 300])
    r = remainder(p, counterexample(p), 1, 0)
    assert r == pytest.approx(np.log(np.abs(np.log(p))), rel=1e-12)
    assert r[1] - r[0] == pytest.approx(math.log(15)) and r[2] - r[1] == pytest.approx(math.log(10))  # grows without bound


@COMMON
@given(a=exponents, b=exponents, seed=st.integers(0, 10_000))
def test_remainder_inverts_the_representation(a, b, seed):
    rng = np.random.default_rng(seed)
    p, r = rng.uniform(0.01, 0.99, (2, 3)), rng.normal(size=(2, 3))
    assert remainder(p, p**a * (1 - p) ** b * np.exp(r), a, b) == pytest.approx(r, abs=1e-9)


@COMMON
@given(seed=st.integers(0, 10_000), size=st.integers(2, 30), spread=st.floats(0, 3))
def test_no_remainder_and_no_law_of_p_undercut_the_guarantee(seed, size, spread):
    rng = np.random.default_rng(seed)
    r, law = spread * rng.uniform(-1, 1, size), rng.dirichlet(np.ones(size))
    assert oscillation(r) == pytest.approx(np.ptp(r))
    assert aggregate_efficiency(r, law) >= guaranteed_efficiency(oscillation(r)) - 1e-12


def test_guarantee_is_sech_squared_of_half_the_oscillation():
    assert guaranteed_efficiency(0.6) == pytest.approx(0.9151369618, abs=1e-10)
    assert guaranteed_efficiency(0.0) == 1


@pytest.mark.parametrize("seed", range(3))
def test_log_log_slope_equals_scipy_and_numpy(seed):
    rng = np.random.default_rng(seed)
    x = np.geomspace(1e-3, 0.1, 9)
    y = 3 * x**1.7 * np.exp(0.05 * rng.normal(size=9))
    oracle = stats.linregress(np.log(x), np.log(y))
    assert log_log_slope(x, y) == pytest.approx((oracle.slope, oracle.stderr))
    se = y * rng.uniform(0.01, 0.1, 9)
    coefficients, covariance = np.polyfit(np.log(x), np.log(y), 1, w=y / se, cov="unscaled")
    assert log_log_slope(x, y, se) == pytest.approx((coefficients[0], math.sqrt(covariance[0, 0])))


def test_two_distances_suffice_for_a_slope():
    assert log_log_slope([0.1, 0.1, 0.2], [1.0, 1.0, 4.0])[0] == pytest.approx(2)


# --- bad input ------------------------------------------------------------------------------------------------------------------------

GOOD = dict(pass_rate=BINS, snr_squared=np.ones(11), standard_error=np.full(11, 0.1))


@pytest.mark.parametrize("fit", [fit_leading_order, fit_leading_order_linear, compare_models])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pass_rate": np.linspace(0, 1, 11)}, r"pass_rate must lie strictly inside \(0, 1\).*got 0;.*posterior mean"),
        ({"pass_rate": np.full(11, 1.5)}, r"pass_rate must be pass rates in \[0, 1\], got 1.5"),
        ({"pass_rate": np.full(11, math.nan)}, "pass_rate"),
        ({"pass_rate": np.repeat([0.2, 0.4, 0.6], [4, 4, 3])}, "at least 4 different values.*got 3"),
        ({"pass_rate": np.array([0.2, 0.4, 0.6])}, "pass_rate must have at least 4 entries"),
        ({"snr_squared": np.ones(10)}, r"snr_squared must have the shape of pass_rate, \(11,\), got \(10,\)"),
        ({"snr_squared": np.full(11, math.inf)}, "snr_squared must be .*finite"),
        ({"standard_error": np.zeros(11)}, r"standard_error must be positive, got 0 at index \[0\]"),
        ({"standard_error": 0.1}, r"standard_error must have shape \(11,\), one entry a point, got \(\)"),
    ],
)
def test_bad_data_are_refused(fit, change, message):
    with pytest.raises(ValueError, match=message):
        fit(**(GOOD | change))


def test_other_bad_arguments_are_refused():
    y = np.ones(11)
    y[3] = -1
    with pytest.raises(ValueError, match=r"must be positive for the log fit, got -1 at index \[3\]; use fit_leading_order_linear"):
        fit_leading_order(BINS, y, GOOD["standard_error"])
    y[3] = 0
    with pytest.raises(ValueError, match=r"got 0 at index \[3\]"):
        fit_leading_order(BINS, y, GOOD["standard_error"])
    for confidence in (0, 1, 1.5, math.nan):
        with pytest.raises(ValueError, match="confidence"):
            fit_leading_order(**GOOD, confidence=confidence)
    with pytest.raises(ValueError, match=r"snr_squared must have shape \(B, 11\) to match pass_rate, got \(2, 10\)"):
        fit_leading_order_batch(BINS, np.ones((2, 10)), GOOD["standard_error"])
    with pytest.raises(ValueError, match="snr_squared must be a 2-dimensional"):
        fit_leading_order_batch(**GOOD)
    with pytest.raises(ValueError, match="values must be positive for a logarithm"):
        remainder([0.5], [0.0], 1, 1)
    with pytest.raises(ValueError, match="values must have the shape of pass_rate"):
        remainder([0.5], [0.5, 0.5], 1, 1)
    with pytest.raises(ValueError, match="strictly inside"):
        remainder([1.0], [0.5], 1, 1)
    with pytest.raises(ValueError, match="depth must be an integer >= 8"):
        boundary_exponent(lambda x: x, depth=7)
    with pytest.raises(ValueError, match="choose a smaller depth if f underflows"):
        boundary_exponent(lambda x: x**50, depth=40)
    with pytest.raises(ValueError, match=r"^osc must be a finite number >= 0, got -0\.1"):
        guaranteed_efficiency(-0.1)
    with pytest.raises(ValueError, match="distance and values must be positive"):
        log_log_slope([0.1, 0.2, 0.3], [1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="values must have the shape of distance"):
        log_log_slope([0.1, 0.2, 0.3], [1.0, 1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="two different values"):
        log_log_slope([0.1, 0.1, 0.1], [1.0, 2.0, 3.0])
