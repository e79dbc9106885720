"""Worst cases, the adversary, the saddle point and misspecified exponents, against quadrature, brute force and series."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize

from paced_theory.robustness import (
    aggregate_efficiency,
    beta_misspecification_curvature,
    beta_misspecification_loss,
    find_adversary,
    loss_slope,
    pointwise_loss,
    pointwise_loss_bound,
    pointwise_minimax_loss,
    saddle_point,
    worst_case_efficiency,
    worst_case_law,
    worst_case_loss,
    worst_case_of_weight,
)

COMMON = settings(deadline=None, max_examples=40, derandomize=True)
deltas = st.floats(0.01, 3.0)
seeds = st.integers(0, 10_000)


# --- pointwise ------------------------------------------------------------------------------------------------------------------------


@COMMON
@given(eps=st.floats(-3, 3), second=st.floats(0.1, 10), weight=st.floats(0.1, 10))
def test_pointwise_loss_is_the_lost_share_of_the_gain(eps, second, weight):
    best = weight * math.exp(eps)
    signal = best * second

    def gain(w):
        return 2 * w * signal - w**2 * second

    assert pointwise_loss(eps) == pytest.approx(1 - gain(weight) / gain(best), abs=1e-9)


@COMMON
@given(delta=deltas)
def test_pointwise_bound_is_the_largest_loss_and_rescaling_brings_tanh_squared(delta):
    eps = np.linspace(-delta, delta, 2001)
    assert pointwise_loss(eps).max() == pytest.approx(float(pointwise_loss_bound(delta)), rel=1e-9)
    assert eps[pointwise_loss(eps).argmax()] == -delta
    best = optimize.minimize_scalar(
        lambda c: np.max((1 - c * np.exp(-eps)) ** 2), bounds=(0, 2), method="bounded", options={"xatol": 1e-12}
    )
    assert best.fun == pytest.approx(float(pointwise_minimax_loss(delta)), rel=1e-5)
    assert best.x == pytest.approx(1 / math.cosh(delta), rel=1e-5)


def test_pointwise_series():
    d = 1e-2
    assert float(pointwise_loss_bound(d)) == pytest.approx(d**2 + d**3 + 7 / 12 * d**4, abs=d**5)


# --- aggregate ------------------------------------------------------------------------------------------------------------------------


@COMMON
@given(seed=seeds, size=st.integers(1, 20), spread=st.floats(0.01, 50), shift=st.floats(-300, 300))
def test_aggregate_efficiency_is_a_squared_cosine(seed, size, spread, shift):
    rng = np.random.default_rng(seed)
    eps, nu = spread * rng.uniform(-1, 1, size), rng.uniform(0, 1, size)
    efficiency = aggregate_efficiency(eps, nu)
    left, right = np.sqrt(nu), np.sqrt(nu) * np.exp(eps - eps.max())
    assert efficiency == pytest.approx((left @ right) ** 2 / (left @ left) / (right @ right), rel=1e-12)
    assert 0 < efficiency <= 1 + 1e-12
    assert aggregate_efficiency(eps + shift, 7 * nu) == pytest.approx(efficiency, rel=1e-9)
    assert aggregate_efficiency(np.full(size, shift), nu) == pytest.approx(1)
    if size > 1:
        assert efficiency < 1


def test_equal_masses_are_the_default_and_empty_levels_do_not_matter():
    assert aggregate_efficiency([0.0, 0.5]) == aggregate_efficiency([0.0, 0.5], [2, 2])
    assert aggregate_efficiency([0.0, 0.5, 2000.0], [1, 1, 0]) == aggregate_efficiency([0.0, 0.5])


@COMMON
@given(low=st.floats(0, 3), high=st.floats(0.01, 3), seed=seeds)
def test_no_law_undercuts_the_worst_case_and_the_two_point_law_attains_it(low, high, seed):
    rng = np.random.default_rng(seed)
    worst = float(worst_case_efficiency(low, high))
    for _ in range(20):
        eps = rng.choice([-low, high], 8) if rng.random() < 0.5 else rng.uniform(-low, high, 8)
        assert aggregate_efficiency(eps, rng.dirichlet(np.ones(8))) >= worst - 1e-12
    eps, nu = worst_case_law(low, high)
    assert eps.tolist() == [-low, high] and nu.sum() == pytest.approx(1)
    assert aggregate_efficiency(eps, nu) == pytest.approx(worst, rel=1e-12)


def test_symmetric_law_has_the_stated_masses():
    eps, nu = worst_case_law(0.3)
    assert eps.tolist() == [-0.3, 0.3]
    assert nu[1] == pytest.approx(math.exp(-0.3) / (math.exp(0.3) + math.exp(-0.3)))


@COMMON
@given(delta=st.floats(0, 20), step=st.floats(1e-3, 1))
def test_worst_case_values_series_monotonicity_and_slope(delta, step):
    efficiency, loss = float(worst_case_efficiency(delta)), float(worst_case_loss(delta))
    assert efficiency == pytest.approx(1 / math.cosh(delta) ** 2, rel=1e-12)
    assert loss == pytest.approx(math.tanh(delta) ** 2, rel=1e-12)
    assert efficiency + loss == pytest.approx(1, abs=1e-12)
    assert worst_case_efficiency(delta + step) < efficiency
    assert worst_case_efficiency(delta, delta) == pytest.approx(efficiency)


def test_reference_values():
    assert float(worst_case_efficiency(0.3)) == pytest.approx(0.9151369618, abs=5e-11)
    assert worst_case_efficiency(0) == 1 and worst_case_loss(0) == 0
    assert worst_case_efficiency(1000) == 0  # no overflow on the way
    d = 0.05
    assert float(worst_case_loss(d)) == pytest.approx(d**2 - 2 / 3 * d**4 + 17 / 45 * d**6, abs=d**8)
    assert worst_case_efficiency([0.1, 0.2]).shape == (2,)


@COMMON
@given(delta=st.floats(0.01, 5))
def test_slope_is_the_logarithmic_derivative(delta):
    h = 1e-5
    numeric = (math.log(math.tanh(delta * math.exp(h))) - math.log(math.tanh(delta * math.exp(-h)))) / h
    assert float(loss_slope(delta)) == pytest.approx(numeric, rel=1e-7)


def test_slope_starts_at_two_and_does_not_overflow():
    assert loss_slope(0) == 2
    assert loss_slope([0.0, 1e-3, 800.0]) == pytest.approx([2, 2, 0], abs=1e-5)


# --- the adversary --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(0.05, None), (0.3, None), (1.5, None), (0.2, 0.5), (0.0, 0.6)])
def test_the_linear_programme_finds_the_two_point_law(low, high):
    found = find_adversary(low, high, grid=41)
    assert found.efficiency == pytest.approx(float(worst_case_efficiency(low, high)), abs=1e-7)
    eps, nu = worst_case_law(low, high)
    assert (found.eps[0], found.eps[-1]) == pytest.approx(eps)
    assert (found.nu[0], found.nu[-1]) == pytest.approx(nu, abs=1e-3)
    assert found.nu[1:-1].max() < 1e-6
    assert found.eps.size == found.nu.size == 41
    assert found.efficiency == pytest.approx(aggregate_efficiency(found.eps, found.nu))


def test_loss_found_by_the_adversary_has_slope_two():
    small, large = (1 - find_adversary(d, grid=11).efficiency for d in (0.01, 0.02))
    assert math.log2(large / small) == pytest.approx(2, abs=2e-3)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(seed=seeds, delta=st.floats(0.05, 1.0), size=st.integers(1, 5))
def test_best_response_beats_brute_force_over_mixtures(seed, delta, size):
    """Against random log-ratios, projected search over the shares of the two ends at each level does no better."""
    rng = np.random.default_rng(seed)
    h, nu = rng.normal(size=size) * 0.5, rng.dirichlet(np.full(size, 3.0))
    efficiency, law = worst_case_of_weight(h, nu, delta, grid=7)
    assert law.shape == (size, 7) and law.sum(axis=1) == pytest.approx(np.ones(size))
    ratio, weight = np.exp(np.linspace(-delta, delta, 7)), np.exp(h)
    first, second = nu @ (weight * (law @ ratio)), nu @ (law @ ratio**2)
    assert efficiency == pytest.approx(first**2 / second / (nu @ weight**2), rel=1e-9)

    def keep(share):
        mean = ratio[0] + share * (ratio[-1] - ratio[0])
        square = ratio[0] ** 2 + share * (ratio[-1] ** 2 - ratio[0] ** 2)
        return (nu @ (weight * mean)) ** 2 / (nu @ square) / (nu @ weight**2)

    rivals = [optimize.minimize(keep, rng.random(size), bounds=[(0, 1)] * size, method="L-BFGS-B").fun for _ in range(3)]
    assert efficiency <= min(rivals) + 1e-9
    assert efficiency == pytest.approx(min(rivals), abs=1e-5)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(seed=seeds, size=st.integers(2, 8), low=st.floats(0.1, 1.0), high=st.floats(0.0, 1.0))
def test_saddle_point_is_at_w0(seed, size, low, high):
    nu = np.random.default_rng(seed).uniform(0.1, 1, size)
    game = saddle_point(nu, low, high)
    value = float(worst_case_efficiency(low, high))
    assert game.efficiency <= value + 1e-9 <= game.upper_bound + 2e-9
    assert game.upper_bound - game.efficiency < 1e-6
    assert np.abs(game.log_ratio).max() < 0.02
    assert (nu / nu.sum()) @ game.log_ratio == pytest.approx(0, abs=1e-12)
    assert game.cuts >= size
    assert worst_case_of_weight(np.zeros(size), nu, low, high)[0] == pytest.approx(value, rel=1e-9)


@COMMON
@given(seed=seeds, delta=st.floats(0.05, 1.0))
def test_every_other_weight_has_a_worse_worst_case(seed, delta):
    rng = np.random.default_rng(seed)
    h, nu = rng.normal(size=6), rng.dirichlet(np.full(6, 3.0))
    assert worst_case_of_weight(h, nu, delta)[0] < worst_case_efficiency(delta) - 1e-4


def test_three_values_of_eps_suffice():
    assert find_adversary(0.3, grid=3).eps.tolist() == [-0.3, 0, 0.3]
    assert worst_case_of_weight([0.0, 0.0], [1, 1], 0.3, grid=3)[0] == pytest.approx(0.9151369618)
    assert saddle_point([1, 2], 0.3, grid=3).efficiency == pytest.approx(0.9151369618, abs=1e-6)


def test_saddle_point_reports_too_few_cuts():
    with pytest.raises(ArithmeticError, match="had not met after 2 rounds; give a larger max_rounds"):
        saddle_point([1, 4, 6, 5, 3, 1], 0.3, max_rounds=2)


# --- Beta kernels with wrong exponents ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    alpha=st.floats(0.2, 3),
    beta=st.floats(0.2, 3),
    d_alpha=st.floats(-0.5, 2),
    d_beta=st.floats(-0.5, 2),
    a=st.floats(1.0, 4),
    b=st.floats(1.0, 4),
)
def test_loss_of_wrong_exponents_equals_quadrature(alpha, beta, d_alpha, d_beta, a, b):
    def moment(power_p, power_q):
        # p = sin^2 t removes the endpoint singularities that negative powers bring.
        def integrand(t):
            return 2 * math.sin(t) ** (2 * (power_p + a) - 1) * math.cos(t) ** (2 * (power_q + b) - 1)

        return integrate.quad(integrand, 0, math.pi / 2, epsabs=0, epsrel=1e-11, limit=200)[0]

    used, best = (alpha + d_alpha, beta + d_beta), (alpha, beta)
    cross = moment(used[0] + best[0], used[1] + best[1])
    expected = 1 - cross**2 / (moment(2 * used[0], 2 * used[1]) * moment(2 * best[0], 2 * best[1]))
    loss = float(beta_misspecification_loss(d_alpha, d_beta, alpha, beta, (a, b)))
    assert loss == pytest.approx(expected, abs=1e-8)
    assert 0 <= loss <= 1
    assert loss == pytest.approx(float(beta_misspecification_loss(d_beta, d_alpha, beta, alpha, (b, a))), abs=1e-12)


def test_reference_losses_of_wrong_exponents():
    assert beta_misspecification_loss(0, 0) == 0
    assert float(beta_misspecification_loss(-1, -1)) == pytest.approx(1 / 6)  # uniform weight: 1 - B(2,2)^2 / B(3,3)
    assert float(beta_misspecification_loss(1, 1)) == pytest.approx(1 / 28)
    assert beta_misspecification_loss([0, 1], [0, 1]).shape == (2,)


@COMMON
@given(alpha=st.floats(0.3, 3), beta=st.floats(0.3, 3), angle=st.floats(0, 2 * math.pi), a=st.floats(0.5, 4), b=st.floats(0.5, 4))
def test_curvature_is_the_leading_term(alpha, beta, angle, a, b):
    h = 1e-3
    direction = (h * math.cos(angle), h * math.sin(angle))
    leading = float(beta_misspecification_curvature(*direction, alpha, beta, (a, b)))
    back = (-direction[0], -direction[1])
    even_part = (
        float(beta_misspecification_loss(*direction, alpha, beta, (a, b))) + float(beta_misspecification_loss(*back, alpha, beta, (a, b)))
    ) / 2
    assert leading == pytest.approx(even_part, rel=1e-3, abs=1e-13)
    assert leading > 0


# --- bad input ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: worst_case_efficiency(-0.1), "delta must be finite numbers >= 0, got -0.1"),
        (lambda: worst_case_loss(0.1, -0.2), "delta_high must be finite numbers >= 0, got -0.2"),
        (lambda: worst_case_efficiency(math.nan), "delta"),
        (lambda: loss_slope(-1), "delta"),
        (lambda: pointwise_loss_bound(-1), "delta"),
        (lambda: pointwise_loss(math.inf), "eps"),
        (lambda: worst_case_law(-0.3), "delta must be a finite number >= 0"),
        (lambda: worst_case_law(0.3, -1), "delta_high must be a finite number >= 0"),
        (lambda: worst_case_law(0.0), "delta must be > 0 unless delta_high is"),
        (lambda: find_adversary(0.0), "range of eps of width 0"),
        (lambda: find_adversary(0.3, grid=2), "grid must be an integer >= 3"),
        (lambda: aggregate_efficiency([]), "eps must have at least 1 entries"),
        (lambda: aggregate_efficiency([0.1, 0.2], [1.0]), "nu must have one mass for each of the 2 values, got 1"),
        (lambda: aggregate_efficiency([0.1, 0.2], [1.0, -1.0]), "nu must be non-negative and not all 0, got least -1 and largest 1"),
        (lambda: aggregate_efficiency([0.1, 0.2], [0.0, 0.0]), "nu must be non-negative and not all 0, got least 0 and largest 0"),
        (lambda: saddle_point([0.5, 0.0, 0.5], 0.3), r"nu must be positive at every level, got 0 at index \[1\]"),
        (lambda: saddle_point([0.5, 0.5], 0.3, tolerance=0), "tolerance must be a finite number > 0"),
        (lambda: saddle_point([0.5, 0.5], 0.3, max_rounds=0), "max_rounds must be an integer >= 1"),
        (lambda: worst_case_of_weight([0.0], [1.0, 1.0], 0.3), "nu must have one mass for each of the 1 values"),
        (lambda: beta_misspecification_loss(-2, 0), r"2 \(alpha \+ d_alpha\) \+ a > 0.*got least values -1 and 3"),
        (lambda: beta_misspecification_loss(0, -2), r"2 \(beta \+ d_beta\) \+ b > 0.*got least values 3 and -1"),
        (lambda: beta_misspecification_loss(-1.5, 0), "got least values 0 and 3"),
        (lambda: beta_misspecification_loss(0, -1.5), "got least values 3 and 0"),
        (lambda: beta_misspecification_loss(0, 0, -1), "alpha and beta must leave 2 alpha.*got -1 and 3"),
        (lambda: beta_misspecification_loss(0, 0, -0.5, 1), "got 0 and 3"),
        (lambda: beta_misspecification_loss(0, 0, 1, -0.5), "got 3 and 0"),
        (lambda: beta_misspecification_loss(0, 0, prior=(0, 1)), "prior must be"),
        (lambda: beta_misspecification_curvature(0, math.nan), "d_beta"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
