"""The ends of every range: huge counts and priors, exponents up to 50, pass rates 0 and 1, scales near the limits of doubles.

Oracles: mpmath with 60 digits, limits known in closed form, and invariances. Bad input must raise a ValueError that names the argument.
"""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paced_theory import (
    BetaKernel,
    GaussianBump,
    LogisticStudent,
    SoftmaxStudent,
    Uniform,
    aggregate_efficiency,
    beta_misspecification_loss,
    bootstrap_snr,
    boundary_exponents,
    connections_table,
    efficiency_table,
    estimate_snr,
    find_adversary,
    fit_leading_order_linear,
    forward_kl,
    forward_kl_logit_gradient,
    guaranteed_efficiency,
    pointwise_loss_bound,
    posterior_weight,
    quadratic,
    quadratic_mean_squared_gradient,
    saddle_point,
    simulate_sgd,
    variance_ratio,
    variance_ratio_of,
    worst_case_against,
    worst_case_efficiency,
    worst_case_law,
    worst_case_loss,
)
from paced_theory._special import log_beta_ratio, log_rising
from paced_theory.robustness import loss_slope, pointwise_loss, worst_case_of_weight
from paced_theory.snr import combine, effective_rank, permutation_null, sign_flip_null

RNG = np.random.default_rng(0)
G = RNG.standard_normal((20, 5))


def exact_log_rising(x, d):
    with mpmath.workdps(60):
        return mpmath.loggamma(mpmath.mpf(x) + mpmath.mpf(d)) - mpmath.loggamma(mpmath.mpf(x))


@given(st.floats(-3, 15), st.floats(0, 60))
def test_gamma_ratios_against_mpmath(log_x, d):
    x = 10.0**log_x
    assert float(log_rising(x, d)) == pytest.approx(float(exact_log_rising(x, d)), rel=2e-14, abs=2e-13)
    if x >= 1:  # below, x + d - d has lost digits of x
        assert float(log_rising(x + d, -d)) == pytest.approx(-float(log_rising(x, d)), rel=1e-13, abs=1e-12)


@pytest.mark.parametrize("x", [50.0, 50.5, 55.0])
@pytest.mark.parametrize("d", [1e-3, 0.5, 50.0])
def test_the_series_has_all_its_terms_where_it_is_used_first(x, d):
    """Against mpmath to 4e-15: the third term of the series is 2.5e-12 there."""
    error = mpmath.mpf(float(log_rising(x, d))) - exact_log_rising(x, d)
    assert abs(float(error)) <= 4e-15 * max(10.0, abs(float(log_rising(x, d))))


def test_arguments_of_beta_ratios_broadcast_and_zero_shifts_are_exactly_zero():
    found = log_beta_ratio(np.array([[1.0], [1e9]]), np.array([2.0, 1e12, 3.0]), 0.0, 0.0)
    assert found.shape == (2, 3) and not found.any()
    assert float(log_beta_ratio(1.0, 1.0, 1.0, 1.0)) == pytest.approx(math.log(1 / 6))


@pytest.mark.parametrize("K", [10**6, 10**9, 10**15, 2**53])
def test_posterior_weights_of_huge_counts_are_the_rates(K):
    """(k+1)(K-k+1) / ((K+2)(K+3)) in exact integers."""
    for k in (0, 1, K // 2, K):
        exact = (k + 1) * (K - k + 1) / ((K + 2) * (K + 3))
        assert posterior_weight(k, K) == pytest.approx(exact, rel=1e-12)
    with pytest.raises(ValueError, match=r"^K must be integers >= 1 and <= 2\^53, got 1e\+300$"):
        posterior_weight(1, 1e300)


@pytest.mark.parametrize("size", [1e3, 1e8, 1e12])
def test_a_certain_prior_leaves_only_its_mean(size):
    assert posterior_weight([0, 1, 4], 4, prior=(size, size)) == pytest.approx([0.25] * 3, rel=10 / size)
    assert BetaKernel(50, 50).integral((size, size)) == pytest.approx(0.25**50, rel=6000 / size)
    assert variance_ratio(size) == pytest.approx(2.25, rel=2 / size)  # 36/16
    loss = beta_misspecification_loss(0.1, 0.1, prior=(size, size))
    assert 0 <= loss <= 1e-14 + 0.01 / size**2


def test_misspecification_loss_resolves_small_losses():
    with mpmath.workdps(60):
        d = mpmath.mpf("1e-5")
        exact = 1 - mpmath.beta(3 + d, 3) ** 2 / (mpmath.beta(3, 3) * mpmath.beta(3 + 2 * d, 3))
    assert float(beta_misspecification_loss(1e-5, 0.0)) == pytest.approx(float(exact), abs=1e-14)


@given(st.sampled_from([(50, 50), (0, 50), (50, 0), (0.01, 0.01), (0, 0)]), st.sampled_from([(1.0, 1.0), (1e-3, 1e3), (1e4, 1e4)]))
def test_efficiency_never_exceeds_one(exponents, prior):
    kernel = BetaKernel(*exponents)
    for one, other in ((kernel, kernel), (kernel.normalised("peak"), kernel), (kernel, Uniform()), (Uniform(), kernel)):
        assert 0 <= one.efficiency(other, prior) <= 1
    assert kernel.efficiency(kernel, prior) == pytest.approx(1, abs=1e-11)


def test_kernels_at_the_limits_of_doubles():
    assert BetaKernel(1e-3, 1).derivative(5e-324) == np.inf  # 1e-3 * 5e-324 ** -0.999 is beyond doubles
    steep = BetaKernel(50, 0).normalised("sum", [6e-7])  # its scale, 1e311, is beyond doubles, its values are not
    assert steep([6e-7]) == pytest.approx([1.0]) and steep.derivative(6e-7) == pytest.approx(50 / 6e-7)
    assert BetaKernel(50, 50).normalised("mean", prior=(1.0, 1.0)).integral() == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"^sigma must be in \[1e-6, 1e6\], got 1e-200"):
        GaussianBump(0.5, 1e-200)
    for sigma in (1e-6, 1e6):
        bump = GaussianBump(0.5, sigma)
        expected = sigma * math.sqrt(2 * math.pi) * math.erf(0.5 / sigma / math.sqrt(2))
        assert bump.integral() == pytest.approx(expected, rel=1e-10)
        assert np.isfinite(bump.derivative([0.0, 0.5, 1.0])).all()
    with pytest.raises(ValueError, match=r"^optimum must be positive on a set of positive probability"):
        Uniform().efficiency(BetaKernel(50, 50), (1e-3, 1e300))


def test_a_table_takes_arrays_of_any_kind():
    assert efficiency_table(np.array([1, 4]))[1] == efficiency_table(4)[0] == efficiency_table(range(4, 5))[0]
    assert efficiency_table(np.array(4)) == efficiency_table(4)


# ---- robustness


@pytest.mark.parametrize("delta", [0.0, 1e-300, 1e-9, 20.0, 400.0, 1e308])
def test_closed_forms_stay_finite_and_in_range_for_every_delta(delta):
    kept, lost = float(worst_case_efficiency(delta)), float(worst_case_loss(delta))
    assert 0 <= kept <= 1 and 0 <= lost <= 1 and kept + lost == pytest.approx(1)
    assert 0 <= loss_slope(delta) <= 2 and pointwise_loss_bound(delta) >= lost
    assert worst_case_efficiency(delta, delta) == kept and worst_case_efficiency(delta, 0.0) >= kept
    assert pointwise_loss_bound(1e4) == pointwise_loss([-1e4])[0] == np.inf


def test_no_efficiency_exceeds_one_in_the_last_bit():
    """Bounds that are mathematical hold exactly, on every processor; without clamping a few of these were 1 + 2e-15."""
    rng = np.random.default_rng(0)
    assert (np.asarray(loss_slope(np.geomspace(1e-12, 1e-6, 5000))) <= 2).all()
    for _ in range(300):
        nu = rng.dirichlet(np.ones(int(rng.integers(1, 8))))
        assert worst_case_of_weight(np.zeros(nu.size), nu, float(10 ** rng.uniform(-12, -6)))[0] <= 1
    for _ in range(60):
        kernel, prior = BetaKernel(*rng.uniform(0.2, 3, 2)), tuple(rng.uniform(0.3, 3, 2).tolist())
        assert worst_case_against(kernel, kernel, 0.0, prior, points=500) <= 1


def test_laws_and_masses_beyond_doubles():
    assert aggregate_efficiency([1e308, -1e308]) == pytest.approx(0.5)
    assert aggregate_efficiency([0.0, 1.0], [1e308, 1e308]) == aggregate_efficiency([0.0, 1.0])
    assert aggregate_efficiency(*worst_case_law(350.0)) == pytest.approx(float(worst_case_efficiency(350.0)), rel=1e-9)
    assert aggregate_efficiency(np.full(7, 0.3), np.full(7, 0.1)) == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("search", [find_adversary, lambda *d: saddle_point([0.2, 0.3, 0.5], *d, grid=5)])
def test_searches_are_right_up_to_their_widest_range_and_refuse_more(search):
    assert search(5.0).efficiency == pytest.approx(float(worst_case_efficiency(5.0)), abs=1e-6)
    with pytest.raises(ValueError, match=r"^2 delta must be <= 10 nats here, got 10.02"):
        search(5.01)
    with pytest.raises(ValueError, match=r"^delta \+ delta_high must be <= 10 nats here, got 11"):
        search(1.0, 10.0)
    with pytest.raises(ValueError, match=r"^2 delta must be <= 700 nats here, got 702"):
        worst_case_law(351.0)


def test_worst_cases_of_other_weights_at_the_extremes():
    assert [row.worst_case for row in connections_table(0.0)] == pytest.approx([row.efficiency for row in connections_table()], abs=1e-4)
    assert all(0 <= row.worst_case < 1e-4 for row in connections_table(400.0))
    with pytest.raises(ValueError, match=r"^optimum must be positive on a set of positive probability"):
        worst_case_against(Uniform(), BetaKernel(1e4, 1e4), 0.3)


# ---- gradients


@pytest.mark.parametrize("estimate", [estimate_snr, lambda g: bootstrap_snr(g, replicates=50, rng=np.random.default_rng(0))])
def test_estimates_of_any_scale_and_precision(estimate):
    expected = estimate(G).snr_squared
    assert estimate(G * 1e130).snr_squared == pytest.approx(expected) == estimate(G * 1e-130).snr_squared
    assert estimate(G.astype(np.float32)).snr_squared == pytest.approx(expected, rel=1e-5)
    assert estimate(np.round(G * 1000).astype(np.int32)).snr_squared == pytest.approx(expected, rel=1e-1)
    for scale in (1e200, 1e-200):
        with pytest.raises(ValueError, match=r"^gradients must have a largest entry between 1e-140 and 1e140, got"):
            estimate(G * scale)
    with pytest.raises(ValueError, match=r"^the gradients do not differ beyond rounding \(tr Cov = "):
        estimate(G + 1e9)


def test_nulls_of_gradients_that_do_not_differ():
    same = np.ones((4, 2))
    assert (permutation_null(same, [2, 2], replicates=3, rng=RNG) == np.inf).all()
    draws = sign_flip_null(np.ones((3, 3)), replicates=200, rng=np.random.default_rng(0))
    assert np.isinf(draws).any() and draws[np.isfinite(draws)] == pytest.approx(-0.25)  # signs + + -: (1 - 3)/6 over (3 - 1/3)/2
    for matrix in (np.zeros((3, 3)), np.ones((3, 3))):
        with pytest.raises(ValueError, match=r"^the gradients do not differ"):
            effective_rank(matrix)
    for vectors in (np.full((4, 2), np.nan), np.full((4, 2), 1e60), np.ones(4)):
        with pytest.raises(ValueError, match=r"^vectors must be an \(N, m\) array of finite numbers in single precision"):
            permutation_null(vectors, [2, 2], replicates=1, rng=RNG)
    for sizes in ([2.0, 2.0], [], [[2, 2]], [5]):
        with pytest.raises(ValueError, match=r"^sizes must be integers >= 2"):
            permutation_null(same, sizes, replicates=1, rng=RNG)
    for weight in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"^weights must be"):
            combine([estimate_snr(G)], [weight])


# ---- the rest


def test_ratios_of_extreme_weights_and_empty_worlds():
    assert variance_ratio_of([1e200, 1e200], [1e300, 1e300], [1e308, 1e308]) == pytest.approx(1.0)
    assert variance_ratio_of([1.0, 3.0], [1.0, 1.0], [3.0, 1.0]) == pytest.approx(4 / 3)  # E[w^2] = 3, E[w]^2 = 9/4
    for weight, noise, name in (([1.0, 0.0], [1.0, 1.0], "weight"), ([1.0, 1.0], [1.0, 0.0], "noise_variance")):
        with pytest.raises(ValueError, match=f"^{name} must be positive in a bin of positive probability"):
            variance_ratio_of(weight, noise, [0.0, 1.0])


def test_shapes_that_do_not_fit_are_named_and_never_broadcast_by_accident():
    for call, message in (
        (lambda: simulate_sgd(quadratic([1.0]), [1.0, 2.0], [1.0], [1.0], 0.5, 1, 1, RNG), "theta0 must have 1 entries"),
        (lambda: quadratic_mean_squared_gradient([1.0, 2.0], [1.0], 1.0, 0.1, 5), "theta0 must have 2 entries"),
        (lambda: quadratic_mean_squared_gradient([-1.0], [1.0], 1.0, 0.1, 5), "curvatures must be > 0, got -1"),
        (lambda: forward_kl([0.0, 0.0], 1.0), "teacher must have 2 entries along its last axis"),
        (lambda: forward_kl_logit_gradient([0.0, 0.0, 0.0], [0.5, 0.5]), "teacher must have 3 entries along its last axis"),
        (lambda: forward_kl(np.zeros((2, 2)), np.full((3, 2), 0.5)), "student_logits and teacher must have shapes that broadcast"),
        (lambda: worst_case_efficiency([1.0, 2.0], [1.0, 2.0, 3.0]), "delta and delta_high must have shapes that broadcast"),
        (lambda: beta_misspecification_loss([1.0, 2.0], [1.0, 2.0, 3.0]), "d_alpha and d_beta must have shapes that broadcast"),
        (lambda: guaranteed_efficiency([1.0, 2.0]), "osc must be a finite number >= 0"),
        (lambda: LogisticStudent().gradients([0.1, 0.2], 2, RNG), "pass_rate must be a finite real number"),
        (lambda: SoftmaxStudent().gradients([0.1, 0.2], 2, RNG), "pass_rate must be a finite real number"),
        (lambda: boundary_exponents(lambda x: np.array([])), "f must return one positive finite value for each x"),
        (lambda: boundary_exponents(lambda x: "abc"), "f must return one positive finite value for each x"),
        (lambda: boundary_exponents(lambda x: x * (1 - x), depth=54), "depth must be <= 53"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            call()
    assert [side.exponent for side in boundary_exponents(lambda x: x * (1 - x), depth=53)] == pytest.approx([1.0, 1.0])


def test_fits_are_free_of_scale_within_their_range():
    p = np.linspace(0.1, 0.9, 9)
    y = p * (1 - p) ** 2
    fit = fit_leading_order_linear(p, y, 0.1 * y)
    for scale in (1e-40, 1e40):
        scaled = fit_leading_order_linear(p, scale * y, scale * 0.1 * y)
        assert (scaled.a, scaled.b_high) == pytest.approx((fit.a, fit.b_high), abs=1e-6)
        assert scaled.log_c == pytest.approx(math.log(scale), abs=1e-9)
    for values, errors, name in ((1e60 * y, y, "snr_squared"), (y, 1e-60 * y, "standard_error"), (y, 1e60 * y, "standard_error")):
        with pytest.raises(ValueError, match=f"^{name} must be of a size between 1e-50 and 1e50"):
            fit_leading_order_linear(p, values, errors)
