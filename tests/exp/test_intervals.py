"""Intervals over problems where few problems differ: against Clopper and Pearson, and by how often they cover, as against resampling alone."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from paced_exp.core.intervals import ENOUGH, bounded_interval, few_differ, intervals
from paced_exp.evaluation.scores import summary

SAMPLES = 4
TRIALS = 300

# What the problems' pass rates are drawn from, and its mean.
LAWS: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], float]] = {
    "one in a hundred samples": (lambda rng, count: np.full(count, 0.01), 0.01),
    "one in fifty problems": (lambda rng, count: 1.0 * (rng.random(count) < 0.02), 0.02),
    "one in ten problems": (lambda rng, count: 1.0 * (rng.random(count) < 0.1), 0.1),
    "Beta(0.1, 3)": (lambda rng, count: rng.beta(0.1, 3, count), 0.1 / 3.1),
    "Beta(3, 0.1)": (lambda rng, count: rng.beta(3, 0.1, count), 3 / 3.1),
    "Beta(0.3, 1)": (lambda rng, count: rng.beta(0.3, 1, count), 0.3 / 1.3),
    "uniform": (lambda rng, count: rng.random(count), 0.5),
}


def covered(law: str, problems: int, bounds: list[tuple[float, float] | None] | None) -> float:
    rng = np.random.default_rng(problems)
    draw, mean = LAWS[law]
    hits = 0
    for _ in range(TRIALS):
        values = rng.binomial(SAMPLES, draw(rng, problems))[:, None] / SAMPLES
        (found,) = intervals(values, replicates=300, rng=rng, bounds=bounds)
        hits += found.low is not None and found.high is not None and found.low <= mean <= found.high
    return hits / TRIALS


@pytest.mark.parametrize("problems", [6, 20, 60])
@pytest.mark.parametrize("law", LAWS)
def test_intervals_cover_at_the_ends_too(law: str, problems: int) -> None:
    assert covered(law, problems, [(0.0, 1.0)]) >= 0.92


def test_resampling_alone_does_not_cover_there() -> None:
    assert covered("one in fifty problems", 20, None) < 0.6
    assert covered("one in a hundred samples", 6, None) < 0.6


@pytest.mark.parametrize("problems", [6, 20, 60])
def test_differences_between_two_models_cover(problems: int) -> None:
    """Both fail nearly everything, and one solves one problem in twenty that the other does not."""
    rng, hits = np.random.default_rng(problems), 0
    for _ in range(TRIALS):
        gained = rng.random(problems) < 0.05
        both = rng.binomial(SAMPLES, np.full((2, problems), 0.02)) / SAMPLES
        difference = np.where(gained, 1.0, both[0]) - both[1]
        (found,) = intervals(difference[:, None], replicates=300, rng=rng, bounds=[(-1.0, 1.0)])
        assert found.low is not None and found.high is not None
        hits += found.low <= 0.05 * (1 - 0.02) <= found.high
    assert hits / TRIALS >= 0.92


@pytest.mark.parametrize(("passed", "count"), [(0, 6), (6, 6), (1, 6), (3, 7), (0, 200), (2, 50)])
def test_of_zeros_and_ones_it_is_clopper_and_pearsons(passed: int, count: int) -> None:
    values = (np.arange(count) < passed) * 1.0
    found = bounded_interval(values, 0, 1, replicates=200_000, rng=np.random.default_rng(1))
    expected = binomtest(passed, count).proportion_ci(0.95, "exact")
    assert found == (pytest.approx(expected.low, abs=0.003), pytest.approx(expected.high, abs=0.003))


def test_it_moves_and_stretches_with_its_bounds() -> None:
    values = np.array([0.1, 0.4, 0.4, 0.9])
    low, high = bounded_interval(values, 0, 1, replicates=1000, rng=np.random.default_rng(2))
    moved = bounded_interval(3 * values - 2, -2, 1, replicates=1000, rng=np.random.default_rng(2))
    assert moved == (pytest.approx(3 * low - 2), pytest.approx(3 * high - 2))


def test_enough_problems_that_differ_are_resampled_as_before() -> None:
    values = np.r_[np.zeros(40), np.linspace(0.1, 1, ENOUGH)][:, None]
    assert not few_differ(values[:, 0]) and few_differ(values[:-1, 0])
    plain, bounded = (intervals(values, replicates=500, rng=np.random.default_rng(3), bounds=ends) for ends in (None, [(0.0, 1.0)]))
    assert plain == bounded


def test_none_of_24_correct_does_not_print_certainty() -> None:
    table = pd.DataFrame(
        {
            "problem_id": list("abcdef"),
            "source": "s",
            "samples": SAMPLES,
            "correct": 0,
            "mean_tokens": [3.0, 4, 5, 6, 7, 8],
            "truncated_share": 0.0,
        }
    )
    (row,) = summary(table, longest=128, replicates=2000, seed=0)
    for interval in (row["mean"], *row["pass_at"].values()):
        assert (interval["value"], interval["low"]) == (0.0, 0.0)
        assert interval["high"] == pytest.approx(1 - 0.025 ** (1 / 6), abs=0.03)
    assert row["tokens"]["low"] < 5.5 < row["tokens"]["high"]


def test_mean_lengths_cover_where_a_few_responses_are_cut() -> None:
    """One problem in six is mostly cut at the limit: with few problems the sample's own spread misses it."""
    rng, covered, runs = np.random.default_rng(5), 0, 60
    for _ in range(runs):
        cut = rng.random(8) < 1 / 6
        table = pd.DataFrame(
            {
                "problem_id": list("abcdefgh"),
                "source": "s",
                "samples": SAMPLES,
                "correct": 0,
                "mean_tokens": np.where(cut, 128.0, rng.integers(4, 12, 8).astype(float)),
                "truncated_share": cut.astype(float),
            }
        )
        (row,) = summary(table, longest=128, replicates=400, seed=0)
        covered += row["tokens"]["low"] <= 128 / 6 + 7.5 * 5 / 6 <= row["tokens"]["high"]
    assert covered >= 0.9 * runs
