"""Weights from k of K: against enumeration of all outcomes, quadrature, simulation, and the design's table of efficiencies."""

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from paced_theory import estimation as est

common = settings(deadline=None, max_examples=60)
K_small = st.integers(1, 9)
rates = st.floats(0, 1)
exponents = st.floats(0, 8)
priors = st.tuples(st.floats(0.1, 20), st.floats(0.1, 20))

#: Efficiencies against the oracle p(1-p), uniform p: the design notes' section 7.
TABLE = {
    1: (math.nan, 0.8333),
    2: (0.4000, 0.8500),
    4: (0.7059, 0.8810),
    8: (0.8615, 0.9182),
    16: (0.9339, 0.9503),
    32: (0.9678, 0.9723),
    64: (0.9841, 0.9853),
}


def enumerate_outcomes(weights, p):
    """Mean and variance of the weight over all 2^K sequences of passes and failures."""
    K = len(weights) - 1
    mean = second = 0.0
    for outcome in itertools.product((0, 1), repeat=K):
        k = sum(outcome)
        mass = p**k * (1 - p) ** (K - k)
        mean += mass * weights[k]
        second += mass * weights[k] ** 2
    return mean, second - mean**2


def polynomial(power, K):
    """Falling factorial power."""
    return math.prod(range(K - power + 1, K + 1))


def test_efficiency_table_reproduces_the_design():
    rows = est.efficiency_table(tuple(TABLE))
    assert [row.K for row in rows] == list(TABLE)
    for row in rows:
        assert np.allclose([row.plugin, row.posterior], TABLE[row.K], atol=5e-5, rtol=0, equal_nan=True)
        assert row.best == pytest.approx(row.posterior, rel=1e-12)


#: Plug-in, posterior under a uniform prior, empirical Bayes under the law measured on the lab's model: evidence for the advice in the docs.
MEASURED = {4: (0.65, 0.72, 0.77), 8: (0.82, 0.82, 0.86)}


def test_under_the_measured_law_empirical_bayes_is_best_and_a_uniform_prior_no_half_price():
    rows = {row.K: row for row in est.efficiency_table((2, 4, 8, 16), (0.35, 0.43))}
    for K, found in MEASURED.items():
        assert (rows[K].plugin, rows[K].posterior, rows[K].empirical_bayes) == pytest.approx(found, abs=5e-3)
    for row in rows.values():
        assert row.empirical_bayes > max(row.plugin, row.posterior) and row.empirical_bayes == pytest.approx(row.best, rel=1e-12)
    assert rows[4].posterior < rows[8].plugin and rows[16].posterior < rows[16].plugin


def test_empirical_bayes_of_a_law_that_is_no_beta_law_is_that_of_very_many_problems():
    law, K, rng = est.DiscreteLaw([0.02, 0.5, 0.98], [0.45, 0.1, 0.45]), 6, np.random.default_rng(12)
    row = est.efficiency_table(K, law)[0]
    counts = rng.binomial(K, rng.choice(law.pass_rates, 400_000, p=law.probabilities))
    fitted = est.fit_beta_prior(counts, K)
    assert row.empirical_bayes == pytest.approx(est.efficiency(est.posterior_weight(np.arange(K + 1), K, prior=fitted), K, law), abs=2e-3)
    assert row.posterior < row.empirical_bayes < row.best


@pytest.mark.parametrize(("K", "law"), [(1, (2.0, 1.0)), (1, est.DiscreteLaw([0.3, 0.6])), (4, est.DiscreteLaw([1.0]))])
def test_counts_that_fit_no_prior_have_no_empirical_bayes(K, law):
    (row,) = est.efficiency_table(K, law, beta=0.0)
    assert np.isnan(row.empirical_bayes) and row.best > 0


@common
@given(st.integers(2, 300))
def test_efficiencies_have_these_closed_forms_under_uniform_p(K):
    row = est.efficiency_table(K)[0]
    assert row.plugin == pytest.approx(K * (K - 1) / (K**2 + 1), rel=1e-10)
    assert row.posterior == pytest.approx(((K + 2) ** 2 + 1) / ((K + 2) * (K + 3)), rel=1e-10)


def test_with_uniform_pass_rates_the_posterior_with_four_rollouts_beats_the_plugin_with_eight():
    four, eight = est.efficiency_table((4, 8))
    assert four.posterior > eight.plugin


@common
@given(st.integers(1, 60), priors)
def test_efficiencies_increase_with_K_and_posterior_is_best_under_its_prior(K, law):
    now, later = est.efficiency_table((K, K + 1), law, assumed=law)
    assert now.posterior <= later.posterior * (1 + 1e-9)
    assert now.posterior == pytest.approx(now.best, rel=1e-9)
    assert 0 <= now.best <= 1
    if K > 1:
        assert now.plugin <= now.posterior * (1 + 1e-9)


@common
@given(K_small, exponents, exponents, priors, st.data())
def test_no_weight_of_k_beats_the_posterior(K, alpha, beta, law, data):
    rival = data.draw(st.lists(st.floats(0, 10), min_size=K + 1, max_size=K + 1))
    assume(max(rival) > 1e-3)
    best = est.efficiency(est.posterior_weight(np.arange(K + 1), K, alpha, beta, law), K, law, alpha=alpha, beta=beta)
    assert est.efficiency(rival, K, law, alpha=alpha, beta=beta) <= best * (1 + 1e-9)


@common
@given(K_small, st.data(), st.floats(1e-6, 1e6))
def test_efficiency_is_scale_invariant_and_in_range(K, data, scale):
    weights = np.array(data.draw(st.lists(st.floats(0, 5), min_size=K + 1, max_size=K + 1)))
    assume(weights.max() > 1e-3)
    value = est.efficiency(weights, K)
    assert 0 <= value <= 1
    assert est.efficiency(scale * weights, K) == pytest.approx(value, rel=1e-9)


def test_efficiency_survives_extreme_scales():
    weights = est.posterior_weight(np.arange(5), 4)
    for scale in (1e-200, 1e200):
        assert est.efficiency(scale * weights, 4) == pytest.approx(37 / 42, rel=1e-12)


def test_efficiency_is_one_only_when_the_weight_is_the_oracle():
    assert est.efficiency([1.0, 1.0, 1.0], 2, alpha=0.0, beta=0.0) == pytest.approx(1.0, rel=1e-14)
    law = est.DiscreteLaw([0.0, 1.0])  # k tells p exactly
    assert est.efficiency([1.0, 0.0, 3.0], 2, law, alpha=0.0, beta=0.0) < 1
    assert est.efficiency([2.0, 0.0, 2.0], 2, law, alpha=0.0, beta=0.0) == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize("law", [(1.0, 1.0), (0.4, 2.3)])
def test_efficiency_agrees_with_quadrature_over_p(law):
    K, weights = 5, np.array([0.3, 0.1, 0.7, 0.5, 0.2, 0.05])
    density = stats.beta(*law).pdf

    def mean(f):
        points = [0.01, 0.5]
        return integrate.quad(lambda p: f(p) * density(p), 0, 1, points=points, epsabs=1e-12, limit=300)[0]

    def given_p(values, p):
        return float(stats.binom(K, p).pmf(np.arange(K + 1)) @ values)

    cross = mean(lambda p: given_p(weights, p) * p**2 * (1 - p))
    expected = cross**2 / (mean(lambda p: given_p(weights**2, p)) * mean(lambda p: p**4 * (1 - p) ** 2))
    assert est.efficiency(weights, K, law, alpha=2.0, beta=1.0) == pytest.approx(expected, rel=1e-7)


def test_efficiency_agrees_with_simulation():
    rng = np.random.default_rng(0)
    p = rng.beta(0.6, 1.4, 300_000)
    weights = est.posterior_weight(np.arange(7), 6, 1.0, 2.0, (0.6, 1.4))
    seen, oracle = weights[rng.binomial(6, p)], p * (1 - p) ** 2
    simulated = (seen @ oracle) ** 2 / ((seen @ seen) * (oracle @ oracle))
    assert est.efficiency(weights, 6, (0.6, 1.4), beta=2.0) == pytest.approx(simulated, abs=4e-3)


def test_table_for_other_exponents_is_made_of_the_single_values():
    law, k = (0.6, 1.7), np.arange(6)
    (row,) = est.efficiency_table(5, law, alpha=2.0, beta=0.5, assumed=(1.2, 0.9))
    assert row.plugin == est.efficiency(est.plugin_weight(k, 5, 2.0, 0.5), 5, law, alpha=2.0, beta=0.5)
    assert row.posterior == est.efficiency(est.posterior_weight(k, 5, 2.0, 0.5, (1.2, 0.9)), 5, law, alpha=2.0, beta=0.5)
    assert row.best == pytest.approx(est.efficiency(est.posterior_weight(k, 5, 2.0, 0.5, law), 5, law, alpha=2.0, beta=0.5), rel=1e-12)


def test_table_where_some_counts_cannot_occur():
    (row,) = est.efficiency_table(3, est.DiscreteLaw([0.0, 1.0]), alpha=0.0, beta=0.0)
    assert row == (3, *[pytest.approx(1.0)] * 4) and row.best <= 1.0


def test_efficiency_of_a_discrete_law_by_hand():
    law = est.DiscreteLaw([0.5, 1.0], [0.25, 0.75])
    # k = 0 with mass 1/8, k = 1 with mass 7/8; the oracle is 1/4 at p = 1/2 and 0 at p = 1.
    assert np.allclose(est.count_moments(1, law), [0.125, 0.875])
    assert np.allclose(est.count_moments(1, law, 1.0, 1.0), [0.125 / 4, 0.125 / 4])
    assert est.efficiency([1.0, 0.0], 1, law) == pytest.approx((0.125 / 4) ** 2 / (0.125 * 0.25 / 16), rel=1e-12)
    assert est.DiscreteLaw([0.2, 0.4]).probabilities.tolist() == [0.5, 0.5]
    assert est.DiscreteLaw([0.2, 0.4], [0.0, 1.0]).probabilities.tolist() == [0.0, 1.0]


@common
@given(st.integers(1, 30), priors, st.floats(0, 4), st.floats(0, 4))
def test_count_moments_sum_to_the_moment_of_p(K, law, i, j):
    a, b = law
    total = math.exp(
        math.lgamma(a + i) + math.lgamma(b + j) - math.lgamma(a + b + i + j) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    )
    assert est.count_moments(K, law, i, j).sum() == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("law", [(0.7, 3.0), (1.0, 1.0)])
def test_law_of_k_is_beta_binomial(law):
    assert np.allclose(est.count_moments(12, law), stats.betabinom(12, *law).pmf(np.arange(13)), rtol=1e-10)


@common
@given(K_small, rates, st.data())
def test_bias_and_variance_by_enumeration(K, p, data):
    weights = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=K + 1, max_size=K + 1)))
    mean, variance = enumerate_outcomes(weights, p)
    assert est.expected_weight(weights, p) == pytest.approx(mean, abs=1e-12)
    assert est.weight_bias(weights, p, 2.0, 0.5) == pytest.approx(mean - p**2 * (1 - p) ** 0.5, abs=1e-12)
    assert est.weight_variance(weights, p) == pytest.approx(variance, abs=1e-11)
    assert est.weight_variance(weights, p) >= 0


def test_bias_of_the_plugin_is_minus_p_q_over_K():
    p = np.linspace(0, 1, 11).reshape(1, 11)
    for K in (1, 3, 50):
        weights = est.plugin_weight(np.arange(K + 1), K)
        assert np.allclose(est.weight_bias(weights, p), -p * (1 - p) / K, atol=1e-14)
        assert est.weight_variance(weights, p).shape == est.weight_bias(weights, p).shape == (1, 11)


@common
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 10), rates)
def test_unbiased_weight_is_unbiased_by_exact_summation(alpha, beta, extra, p):
    K = max(1, alpha + beta + extra)
    weights = est.unbiased_weight(np.arange(K + 1), K, alpha, beta)
    assert est.weight_bias(weights, p, alpha, beta) == pytest.approx(0.0, abs=1e-12)


@common
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 40), st.data())
def test_unbiased_weight_is_a_ratio_of_binomials(alpha, beta, extra, data):
    K = max(1, alpha + beta + extra)
    k = data.draw(st.integers(0, K))
    numerator = math.comb(K - alpha - beta, k - alpha) if alpha <= k <= K - beta else 0
    assert est.unbiased_weight(k, K, alpha, beta) == pytest.approx(numerator / math.comb(K, k), rel=1e-12)


def test_unbiased_weight_is_the_plugin_times_K_over_K_minus_one():
    k = np.arange(9)
    assert np.allclose(est.unbiased_weight(k, 8), 8 / 7 * est.plugin_weight(k, 8), rtol=1e-14)
    assert est.unbiased_weight([0, 8], [8, 8]).tolist() == [0.0, 0.0]
    assert math.copysign(1, est.unbiased_weight(0, 5, 3, 1)) == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 4, 0.5, 1), "alpha must be an integer for an unbiased weight, got 0.5: p^0.5 is not a polynomial in p"),
        ((1, 4, 1, 1.5), "beta must be an integer for an unbiased weight, got 1.5: p^1.5 is not a polynomial in p"),
        ((1, 4, 3, 2), "K must be >= alpha + beta = 5 for an unbiased weight, got 4: E[f(k) | p] is a polynomial of degree K at most"),
        (([1, 1], [4, 1]), "K must be >= alpha + beta = 2 for an unbiased weight, got 1: E[f(k) | p] is a polynomial of degree K at most"),
        ((1, 4, -1, 1), "alpha must be a finite number >= 0, got -1"),
    ],
)
def test_where_no_unbiased_weight_exists(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        est.unbiased_weight(*arguments)


def test_plugin_weight_by_hand():
    assert est.plugin_weight([0, 1, 2, 4], 4).tolist() == [0.0, 0.1875, 0.25, 0.0]
    assert est.plugin_weight(3, 4, 2.0, 0.5) == pytest.approx((3 / 4) ** 2 * (1 / 4) ** 0.5)
    assert est.plugin_weight([0, 4], 4, 0.0, 0.0).tolist() == [1.0, 1.0]
    assert est.plugin_weight([1, 1], [2, 4]).tolist() == [0.25, 0.1875]


@common
@given(st.integers(1, 40), exponents, exponents, st.data())
def test_swapping_passes_and_failures_swaps_the_exponents(K, alpha, beta, data):
    k = data.draw(st.integers(0, K))
    assert est.plugin_weight(k, K, alpha, beta) == pytest.approx(est.plugin_weight(K - k, K, beta, alpha), rel=1e-12)
    law = data.draw(priors)
    mirrored = est.posterior_weight(K - k, K, beta, alpha, law[::-1])
    assert est.posterior_weight(k, K, alpha, beta, law) == pytest.approx(mirrored, rel=1e-10)


@common
@given(st.integers(1, 30), st.floats(0, 5), st.floats(0, 5), st.tuples(st.floats(0.6, 20), st.floats(0.6, 20)), st.data())
def test_posterior_weight_is_a_ratio_of_integrals(K, alpha, beta, prior, data):
    k = data.draw(st.integers(0, K))
    a, b = k + prior[0], K - k + prior[1]
    top = stats.beta(a, b).expect(lambda p: p**alpha * (1 - p) ** beta, epsabs=1e-13)
    assert est.posterior_weight(k, K, alpha, beta, prior) == pytest.approx(top, rel=1e-6, abs=1e-10)


@common
@given(st.integers(1, 500), st.data())
def test_posterior_weight_for_a_uniform_prior(K, data):
    k = data.draw(st.integers(0, K))
    assert est.posterior_weight(k, K) == pytest.approx((k + 1) * (K - k + 1) / ((K + 2) * (K + 3)), rel=1e-11)


def test_posterior_weight_approaches_the_plugin():
    assert est.posterior_weight(300, 1000, 1.5, 2.0) == pytest.approx(float(est.plugin_weight(300, 1000, 1.5, 2.0)), rel=5e-3)
    assert isinstance(est.posterior_weight(1, 2), float) and est.posterior_weight([[1]], [1, 2]).shape == (1, 2)


def test_fitted_prior_maximises_the_likelihood():
    rng = np.random.default_rng(1)
    K = rng.choice([4, 8, 16], 600)
    k = rng.binomial(K, rng.beta(0.5, 1.8, 600))
    a, b = est.fit_beta_prior(k, K)

    def log_likelihood(parameters):
        return stats.betabinom(K, *np.exp(parameters)).logpmf(k).sum()

    search = optimize.minimize(lambda x: -log_likelihood(x), np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    assert np.allclose(np.log([a, b]), search.x, atol=1e-4)
    assert abs(np.log(a / 0.5)) < 0.3 and abs(np.log(b / 1.8)) < 0.3


def test_fitted_prior_scales_with_shape_and_ignores_order():
    rng = np.random.default_rng(2)
    k = rng.binomial(8, rng.beta(2, 1, (20, 10)))
    flat = est.fit_beta_prior(rng.permutation(k.ravel()), 8)
    assert est.fit_beta_prior(k, 8) == pytest.approx(flat, rel=1e-6)
    swapped = est.fit_beta_prior(8 - k, 8)
    assert swapped == pytest.approx(flat[::-1], rel=1e-4)


def test_fitted_prior_gains_over_the_uniform_one():
    rng, law = np.random.default_rng(3), (0.3, 1.2)
    fitted = est.fit_beta_prior(rng.binomial(4, rng.beta(*law, 2000)), 4)
    row = est.efficiency_table(4, law)[0]
    reached = est.efficiency(est.posterior_weight(np.arange(5), 4, prior=fitted), 4, law)
    assert row.posterior < reached <= row.best
    assert est.efficiency_table(4, law, assumed=fitted)[0].posterior == pytest.approx(reached, rel=1e-12)


def test_empirical_bayes_weight_uses_the_fitted_prior():
    k = np.random.default_rng(4).binomial(6, 0.7, 40)
    k[:9] = 1
    expected = est.posterior_weight(k, 6, 2.0, 0.5, est.fit_beta_prior(k, 6))
    assert est.empirical_bayes_weight(k, 6, 2.0, 0.5).tolist() == expected.tolist()
    assert est.empirical_bayes_weight(k, 6).tolist() == est.posterior_weight(k, 6, prior=est.fit_beta_prior(k, 6)).tolist()


def test_two_rollouts_a_problem_suffice_for_a_fit():
    # With K = 2 the beta-binomial is saturated: its three probabilities can be matched exactly, here 0.3, 0.3 and 0.4.
    a, b = est.fit_beta_prior([0] * 30 + [1] * 30 + [2] * 40, 2)
    assert np.allclose(stats.betabinom(2, a, b).pmf([0, 1, 2]), [0.3, 0.3, 0.4], atol=1e-5)


def test_fitted_prior_at_the_bounds():
    low, high = est.CONCENTRATION_BOUNDS
    equal = est.fit_beta_prior([4] * 50, 8)
    assert equal == pytest.approx((high / 2, high / 2), rel=1e-6)
    split = est.fit_beta_prior([0, 8, 8, 8], 8)
    assert sum(split) == pytest.approx(low, rel=1e-6) and split[0] / sum(split) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(
    ("k", "K", "message"),
    [
        ([0, 1], 1, "K must be >= 2 for at least one problem: single rollouts say nothing about how pass rates spread"),
        ([], 4, "K must be >= 2 for at least one problem: single rollouts say nothing about how pass rates spread"),
        ([0, 0], 4, "k must contain passes and failures to fit a prior, got 0 passes in 8 rollouts"),
        ([4, 4], 4, "k must contain passes and failures to fit a prior, got 8 passes in 8 rollouts"),
        ([5], 4, "k must be integers between 0 and K, got 5.0 at index [0] where K is 4"),
    ],
)
def test_fit_errors(k, K, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        est.fit_beta_prior(k, K)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: est.plugin_weight(1, 4, -1.0), "^alpha must be a finite number >= 0, got -1.0"),
        (lambda: est.plugin_weight(1, 4, 1.0, np.nan), "^beta must be a finite number >= 0, got nan"),
        (lambda: est.posterior_weight(1, 4, np.inf), "^alpha must be"),
        (lambda: est.posterior_weight(1, 4, 1.0, -2), "^beta must be"),
        (lambda: est.posterior_weight(1, 4, prior=(0, 1)), "^prior must be a pair"),
        (lambda: est.posterior_weight(5, 4), "^k must be integers between 0 and K"),
        (lambda: est.efficiency([1, 2], 2), r"^weights_by_k must have K \+ 1 = 3 entries, one for each k = 0..K, got 2"),
        (lambda: est.efficiency([0, 0, 0], 2), "^weights_by_k must have a nonzero entry, got only zeros"),
        (lambda: est.efficiency([1, 1], 0), "^K must be an integer >= 1, got 0"),
        (lambda: est.efficiency([1, 1], 1, (1, -1)), "^law must be a pair"),
        (lambda: est.efficiency([1, 1], 1, alpha=-1), "^alpha must be"),
        (lambda: est.efficiency([1, 1], 1, beta=-1), "^beta must be"),
        (lambda: est.efficiency([1, 0], 1, est.DiscreteLaw([1.0])), "^law must give weights_by_k a positive chance to be nonzero"),
        (lambda: est.efficiency([1, 1], 1, est.DiscreteLaw([1.0])), "^law must give the oracle weight a mean square above 0"),
        (lambda: est.efficiency_table(4, est.DiscreteLaw([0.0, 1.0])), "^law must give the oracle weight a mean square above 0"),
        (lambda: est.efficiency_table(0), "^K must be an integer >= 1, got 0"),
        (lambda: est.efficiency_table(True), "^K must be an integer >= 1, got True"),
        (lambda: est.efficiency_table((2, 2.5)), "^K must be an integer >= 1, got 2.5"),
        (lambda: est.efficiency_table(2, (0, 1)), "^law must be a pair"),
        (lambda: est.efficiency_table(2, assumed=(0, 1)), "^assumed must be a pair"),
        (lambda: est.count_moments(2, order_p=-1), "^order_p must be"),
        (lambda: est.count_moments(2, order_q=-1), "^order_q must be"),
        (lambda: est.expected_weight([1], 0.5), "^weights_by_k must have at least 2 entries"),
        (lambda: est.expected_weight([1, np.nan], 0.5), "^weights_by_k must be"),
        (lambda: est.weight_variance([1, 2], 1.5), "^p must be pass rates"),
        (lambda: est.weight_bias([1, 2], -0.5), "^p must be pass rates"),
        (lambda: est.weight_bias([1, 2], 0.5, -1.0), "^alpha must be"),
        (lambda: est.weight_bias([1, 2], 0.5, 1.0, -1.0), "^beta must be"),
        (lambda: est.expected_weight([1, 2], 1.5), "^p must be pass rates"),
        (lambda: est.DiscreteLaw([[0.5]]), "^pass_rates must be a 1-dimensional array"),
        (lambda: est.DiscreteLaw([0.5], [[1.0]]), "^probabilities must be a 1-dimensional array"),
        (lambda: est.DiscreteLaw([]), "^pass_rates must have at least 1 entries"),
        (lambda: est.DiscreteLaw([1.5]), "^pass_rates must be pass rates"),
        (lambda: est.DiscreteLaw([0.5, 0.6], [0.5, 0.6]), "^probabilities must be 2 numbers >= 0 that sum to 1, got 2 with .* sum 1.1"),
        (lambda: est.DiscreteLaw([0.5, 0.6], [1.5, -0.5]), "^probabilities must be 2 numbers >= 0 that sum to 1, got 2 with minimum -0.5"),
        (lambda: est.DiscreteLaw([0.5, 0.6], [1.0]), "^probabilities must be 2 numbers >= 0 that sum to 1, got 1"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_posterior_can_lose_to_the_plugin_when_the_prior_is_far_off():
    spread = (0.05, 0.05)
    row = est.efficiency_table(8, spread)[0]
    assert row.posterior < row.plugin < row.best
