"""Intervals cover, p-values agree with the interval, degenerate cases are the textbook's, Holm is Holm."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from paced_exp.reproduce.significance import POWER, Estimate, crossed, holm, mean_and_error, ratio_interval


def draw(rng: np.random.Generator, seeds: int, problems: list[int], sd: tuple[float, float, float]) -> list[np.ndarray]:
    of_seed = sd[0] * rng.normal(size=(seeds, 1))
    return [of_seed + sd[1] * rng.normal(size=(1, count)) + sd[2] * rng.normal(size=(seeds, count)) for count in problems]


@pytest.mark.parametrize(
    "sd", [(1.0, 0.0, 1.0), (0.0, 5.0, 1.0), (0.3, 3.0, 3.0), (0.0, 0.0, 4.0)], ids=["seeds", "problems", "all", "noise"]
)
@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_covers_the_mean(sd: tuple[float, float, float], seeds: int) -> None:
    rng = np.random.default_rng([7, seeds])
    runs = 1500
    hits = 0
    for _ in range(runs):
        found = crossed(draw(rng, seeds, [40, 25, 30], sd))
        hits += found.low <= 0 <= found.high
    # At least the nominal share up to what 1,500 draws and Satterthwaite's approximation allow; never trivially wide.
    assert hits / runs >= 0.935
    if sd[2] == 1.0:
        assert hits / runs <= 0.985


def test_the_variance_is_unbiased_where_nothing_is_cut() -> None:
    rng = np.random.default_rng(3)
    sd, sizes, seeds = (2.0, 6.0, 3.0), [20, 30], 5
    true = sd[0] ** 2 / seeds + sum((sd[1] ** 2 + sd[2] ** 2 / seeds) / size for size in sizes) / len(sizes) ** 2
    found = np.mean([crossed(draw(rng, seeds, sizes, sd)).error ** 2 for _ in range(4000)])
    assert found == pytest.approx(true, rel=0.04)


def test_without_problem_effects_it_is_the_t_interval_over_seeds() -> None:
    by_seed = np.array([1.0, 2.0, 4.0, 3.5])
    found = crossed([np.repeat(by_seed[:, None], 10, axis=1)])
    reference = stats.ttest_1samp(by_seed, 0.0)
    low, high = reference.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert 2 * min(found.p_greater, found.p_less) == pytest.approx(reference.pvalue)


def test_with_equal_seeds_it_is_the_t_interval_over_problems() -> None:
    by_problem = np.array([0.0, 1.0, 1.0, -1.0, 2.0, 0.5])
    found = crossed([np.repeat(by_problem[None, :], 3, axis=0)])
    low, high = stats.ttest_1samp(by_problem, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))


@given(st.floats(-5, 5), st.floats(0.01, 5), st.floats(1, 100))
def test_the_interval_excludes_zero_exactly_where_the_p_value_is_small(value: float, error: float, freedom: float) -> None:
    estimate = Estimate(value, error, freedom)
    assert (estimate.low > 0) == (2 * estimate.p_greater < 0.05)
    assert (estimate.high < 0) == (2 * estimate.p_less < 0.05)
    assert estimate.p_greater + estimate.p_less == pytest.approx(1)


def test_differences_without_any_spread() -> None:
    same = crossed([np.zeros((3, 4))])
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0) and same.p_greater == same.p_less == 1.0
    ahead = crossed([np.ones((3, 4))])
    assert (ahead.low, ahead.high) == (1.0, 1.0) and ahead.p_greater == 0.0 and ahead.p_less == 1.0


@pytest.mark.parametrize("strata", [[np.zeros((1, 5))], [np.zeros((3, 1))], [np.zeros((3, 4)), np.zeros((2, 4))], [np.zeros(4)]])
def test_too_little_is_refused(strata: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="each stratum must be"):
        crossed(strata)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_rejects_what_the_closed_test_of_bonferroni_rejects(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for index in range(len(p_values)):
        others = [i for i in range(len(p_values)) if i != index]
        subsets = itertools.chain.from_iterable(itertools.combinations(others, size) for size in range(len(others) + 1))
        closed = max(min(1.0, (len(subset) + 1) * min(p_values[i] for i in (*subset, index))) for subset in subsets)
        assert adjusted[index] == pytest.approx(closed)


def test_mean_and_error() -> None:
    mean, error = mean_and_error([1.0, 3.0, 5.0])
    assert mean == 3.0 and error == pytest.approx(stats.sem([1.0, 3.0, 5.0]))
    assert mean_and_error([2.0]) == (2.0, None)


def test_the_interval_of_a_ratio_is_fiellers() -> None:
    """Without problem effects the model is the t interval over seeds, for which Fieller's limits are the roots of a quadratic."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        bottom = 5 + rng.normal(size=6)
        top = 0.4 * bottom + rng.normal(size=6)
        spread = np.cov(top, bottom) / 6
        t = stats.t.ppf(0.975, 5) ** 2
        a, b, c = (
            bottom.mean() ** 2 - t * spread[1, 1],
            -2 * (top.mean() * bottom.mean() - t * spread[0, 1]),
            top.mean() ** 2 - t * spread[0, 0],
        )
        assert a > 0
        found = ratio_interval(*([np.repeat(part[:, None], 10, axis=1)] for part in (top, bottom)))
        assert found == pytest.approx(sorted(np.roots([a, b, c])), abs=1e-6)


def test_the_interval_of_a_ratio_covers_it() -> None:
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(300):
        noise = [draw(rng, 5, [40, 25], (0.3, 3.0, 3.0)) for _ in range(2)]
        bottom = [part + 6 for part in noise[0]]
        top = [0.5 * below + part for below, part in zip(bottom, noise[1], strict=True)]
        low, high = ratio_interval(top, bottom)
        hits += (low is None or low <= 0.5) and (high is None or high >= 0.5)
    assert hits / 300 >= 0.92


def test_a_ratio_to_nothing_has_no_interval() -> None:
    rng = np.random.default_rng(5)
    assert ratio_interval([rng.normal(size=(5, 20))], [rng.normal(size=(5, 20))]) == (None, None)


@pytest.mark.parametrize("level", [0.05, 0.05 / 22])
def test_the_detectable_effect_is_detected_with_the_stated_power(level: float) -> None:
    """By the noncentral t law: the formula is the usual approximation, a few per cent off at six degrees of freedom."""
    estimate = Estimate(0.0, 0.4, 6.0)
    effect = estimate.detectable(level)
    power = stats.nct.sf(stats.t.ppf(1 - level / 2, 6), 6, effect / estimate.error)
    assert power == pytest.approx(POWER, abs=0.1)
