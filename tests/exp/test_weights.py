"""Weights from counts: the formulas by hand, mean one, what is dropped, and that weighting and sampling agree in expectation."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paced_exp.core.errors import UserError
from paced_exp.weighting import ESTIMATES, METHODS, Weighting, Weights, normalised, sample_in_proportion, weigh

K8 = np.full(9, 8)
k8 = np.arange(9)


def assert_ratio(found: np.ndarray, expected: list[float]) -> None:
    """`found` is proportional to `expected` and has mean one."""
    scaled = np.array(expected) / np.mean(expected)
    np.testing.assert_allclose(found, scaled, rtol=1e-12, atol=1e-15)


def test_uniform() -> None:
    assert weigh(Weighting("uniform"), k8, K8).values.tolist() == [1.0] * 9


def test_paced_plugin() -> None:
    assert_ratio(weigh(Weighting("paced"), k8, K8).values, [p * (1 - p) for p in k8 / 8])
    assert_ratio(weigh(Weighting("paced", alpha=2, beta=0.5), k8, K8).values, [p**2 * math.sqrt(1 - p) for p in k8 / 8])


def test_paced_unbiased_is_the_rescaled_plugin_at_one_one_and_differs_elsewhere() -> None:
    # The factor K / (K - 1) cancels on normalising when all K are equal...
    assert_ratio(weigh(Weighting("paced", estimate="unbiased"), k8, K8).values, [p * (1 - p) for p in k8 / 8])
    # ...and does not when they differ: p(1-p) K/(K-1).
    k, K = np.array([1, 2]), np.array([2, 4])
    assert_ratio(weigh(Weighting("paced", estimate="unbiased"), k, K).values, [0.25 * 2, 0.25 * 4 / 3])
    # k (k-1) (K-k) / (K (K-1) (K-2)) for alpha = 2, beta = 1.
    assert_ratio(
        weigh(Weighting("paced", alpha=2, beta=1, estimate="unbiased"), k8, K8).values,
        [k * (k - 1) * (8 - k) / (8 * 7 * 6) for k in range(9)],
    )


def test_paced_posterior_has_its_closed_form_and_drops_nothing() -> None:
    weights = weigh(Weighting("paced", estimate="posterior"), k8, K8)
    assert_ratio(weights.values, [(k + 1) * (9 - k) / (10 * 11) for k in range(9)])
    assert len(weights.kept) == 9


def test_empirical_bayes_lies_between_prior_and_plugin() -> None:
    rng = np.random.default_rng(0)
    k = rng.binomial(8, rng.beta(4, 4, size=2000))
    K = np.full(2000, 8)
    fitted = weigh(Weighting("paced", estimate="empirical_bayes"), k, K).values
    # A prior concentrated in the middle pulls the ends up: E[p(1-p) | k] under Beta(4, 4) is (k+4)(12-k)/(16*17).
    assert fitted[k == 0][0] / fitted[k == 4][0] == pytest.approx(4 * 12 / (8 * 8), rel=0.2)


def test_rivals() -> None:
    assert_ratio(weigh(Weighting("hard_filter"), k8, K8).values, [0, 0, 1, 1, 1, 1, 1, 0, 0])
    assert_ratio(weigh(Weighting("hard_filter", lo=0.5, hi=1.0), k8, K8).values, [0, 0, 0, 0, 1, 1, 1, 1, 1])
    assert_ratio(weigh(Weighting("gaussian", sigma=0.2), k8, K8).values, [math.exp(-((p - 0.5) ** 2) / 0.08) for p in k8 / 8])
    assert_ratio(weigh(Weighting("grpo"), k8, K8).values, [math.sqrt(p * (1 - p)) for p in k8 / 8])


def test_the_gaussians_width_matches_paceds_second_moment() -> None:
    # Beta(2, 2), PACED's kernel as a density, has variance 1/20.
    p = (np.arange(200_000) + 0.5) / 200_000
    w = weigh(Weighting("gaussian"), np.arange(200_000) * 2 + 1, np.full(200_000, 400_000)).values
    assert (w * (p - 0.5) ** 2).sum() / w.sum() == pytest.approx(1 / 20, rel=1e-6)


@given(st.sampled_from(METHODS), st.sampled_from(ESTIMATES), st.lists(st.integers(0, 6), min_size=2, max_size=30))
def test_weights_have_mean_one_over_the_data_set(method: str, estimate: str, counts: list[int]) -> None:
    k = np.array([*counts, 3])  # one problem in the middle, so that not all weights are zero
    weights = weigh(Weighting(method, estimate=estimate if method == "paced" else "plugin"), k, np.full(len(k), 6))
    assert weights.values.mean() == pytest.approx(1, rel=1e-12)
    assert weights.values.min() >= 0
    assert weights.in_training[weights.kept].mean() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("changes", [{"alpha": 2.0}, {"beta": 0.5}, {"estimate": "posterior"}])
@pytest.mark.parametrize("method", [method for method in METHODS if method != "paced"])
def test_options_of_paced_are_refused_for_others(method: str, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"`{next(iter(changes))}` .* only applies to `method` paced; leave it out with `method` {method}"):
        Weighting(method, **changes)


@pytest.mark.parametrize(("k", "K"), [([0, 9], [8, 8]), ([-1], [8]), ([0.5], [8]), ([0], [0]), ([float("nan")], [8]), ([1, 2], [8])])
@pytest.mark.parametrize("method", METHODS)
def test_counts_that_cannot_be_are_refused(method: str, k: list[float], K: list[int]) -> None:
    with pytest.raises(ValueError, match="whole numbers with 0 <= k <= K"):
        weigh(Weighting(method), np.array(k), np.array(K))


def test_what_is_dropped_is_reported() -> None:
    summary = weigh(Weighting("paced"), np.array([0, 4, 8, 4]), np.full(4, 8)).summary()
    assert summary == {"problems": 4, "dropped": 2, "dropped_share": 0.5, "largest": 2.0, "effective_problems": 2.0}


def test_dropping_keeps_the_mean_of_the_weighted_losses() -> None:
    rng = np.random.default_rng(1)
    k, losses = rng.integers(0, 9, 500), rng.exponential(size=500)
    weights = weigh(Weighting("paced"), k, np.full(500, 8))
    assert len(weights.kept) < 500
    assert (weights.in_training * losses)[weights.kept].mean() == pytest.approx((weights.values * losses).mean(), rel=1e-12)


def test_sampling_has_the_expectation_of_weighting() -> None:
    rng = np.random.default_rng(2)
    weights = weigh(Weighting("paced"), rng.integers(0, 9, 40), np.full(40, 8))
    losses = rng.exponential(size=40)
    drawn = losses[sample_in_proportion(weights, 200_000, np.random.default_rng(3))]
    expected, error = (weights.values * losses).mean(), drawn.std() / math.sqrt(len(drawn))
    assert abs(drawn.mean() - expected) < 4 * error
    assert error < 0.02 * expected  # the comparison above can fail


def test_sampling_is_the_same_for_the_same_seed_and_draws_no_dropped_problem() -> None:
    weights = Weights(np.array([0.0, 1.0, 2.0]))
    first, second = (sample_in_proportion(weights, 100, np.random.default_rng(5)) for _ in range(2))
    assert first.tolist() == second.tolist()
    assert set(first.tolist()) == {1, 2}


def test_tiny_weights_do_not_underflow() -> None:
    assert normalised(np.array([1e-320, 1e-320, 0.0])).values == pytest.approx([1.5, 1.5, 0.0])


def test_refusals() -> None:
    with pytest.raises(UserError, match="`method` pace is not known; known: uniform, paced, hard_filter, gaussian, grpo"):
        Weighting("pace")
    with pytest.raises(UserError, match="`estimate` map is not known; known: plugin, unbiased, posterior, empirical_bayes"):
        Weighting(estimate="map")
    with pytest.raises(UserError, match="all 2 problems have weight zero"):
        weigh(Weighting("paced"), np.array([0, 8]), np.array([8, 8]))
    with pytest.raises(UserError, match=r"`alpha` -1.0 must be"):
        Weighting(alpha=-1.0)
    with pytest.raises(UserError, match=r"`lo` 0.8 and `hi` 0.2 must satisfy"):
        Weighting("hard_filter", lo=0.8, hi=0.2)
    with pytest.raises(UserError, match=r"`sigma` 0.0 must be positive"):
        Weighting("gaussian", sigma=0.0)
    with pytest.raises(UserError, match=r"needs whole `alpha` and `beta`, got 0.5 and 1"):
        Weighting(alpha=0.5, estimate="unbiased")
    with pytest.raises(UserError, match="needs at least alpha \\+ beta = 2 rollouts a problem, got 1"):
        weigh(Weighting(estimate="unbiased"), np.array([1]), np.array([1]))
    with pytest.raises(UserError, match="empirical_bayes cannot fit a prior to 0 passes in 8 rollouts"):
        weigh(Weighting(estimate="empirical_bayes"), np.array([0]), np.array([8]))
    with pytest.raises(ValueError, match="raw must be a non-empty vector"):
        normalised(np.array([1.0, -1.0]))
