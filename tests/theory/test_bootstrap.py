"""The bootstrap of the SNR: resampled gradients in a plain loop, the exact law of all resamples, coverage by simulation."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from paced_theory.bootstrap import bootstrap_snr, bootstrap_snr_from_gram, resampled_nu
from paced_theory.snr import estimate_snr

common = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)


def draw(seed: int, n: int = 8, d: int = 5, shift: float = 0.5) -> np.ndarray:
    gradients = np.random.default_rng(seed).standard_normal((n, d))
    gradients[:, 0] += shift
    return gradients


def nu_of(sample: np.ndarray) -> float:
    centred = sample - sample.mean(axis=0)
    return float(np.linalg.norm(sample.mean(axis=0)) / math.sqrt((centred**2).sum() / (len(sample) - 1)))


def test_resamples_are_those_of_a_loop_over_gradients() -> None:
    gradients = draw(1)
    nu, centre = resampled_nu(gradients @ gradients.T, replicates=50, rng=np.random.default_rng(7))
    drawn = np.random.default_rng(7).multinomial(8, np.full(8, 1 / 8), size=50)
    assert nu == pytest.approx([nu_of(np.repeat(gradients, row, axis=0)) for row in drawn])
    spread = (gradients - gradients.mean(axis=0)) ** 2
    assert centre == pytest.approx(math.sqrt((gradients.mean(axis=0) ** 2).sum() / (spread.sum() / 8) + 1 / 8))


def test_resamples_follow_the_enumerated_law() -> None:
    gradients = draw(2, n=4)
    values = [nu_of(gradients[list(rows)]) for rows in itertools.product(range(4), repeat=4) if len(set(rows)) > 1]
    nu, _ = resampled_nu(gradients @ gradients.T, replicates=4000, rng=np.random.default_rng(0))
    assert nu.shape == (4000,) and np.isfinite(nu).all()
    grid = np.quantile(values, [0.1, 0.3, 0.5, 0.7, 0.9]) + 1e-9
    expected = np.array([np.mean(np.array(values) <= x) for x in grid])
    found = np.array([np.mean(nu <= x) for x in grid])
    assert np.abs(found - expected).max() < 4 * 0.5 / math.sqrt(4000)


@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_the_interval_follows_its_definition(confidence: float) -> None:
    gradients = draw(3, n=12)
    found = bootstrap_snr(gradients, replicates=300, rng=np.random.default_rng(5), confidence=confidence)
    nu, centre = resampled_nu(gradients @ gradients.T, replicates=300, rng=np.random.default_rng(5))
    ends = found.naive_snr - (np.quantile(nu, [0.5 + confidence / 2, 0.5 - confidence / 2]) - centre)
    assert ends.min() > 0
    assert [found.snr_squared_low, found.snr_squared_high] == pytest.approx(list(ends**2 - 1 / 12))
    assert [found.snr_low, found.snr_high] == pytest.approx([math.sqrt(max(0.0, end**2 - 1 / 12)) for end in ends])


def test_the_lower_end_of_pure_noise_is_clipped_at_no_naive_signal() -> None:
    gradients = draw(4, n=40, shift=0.0)
    found = bootstrap_snr(gradients - gradients.mean(axis=0), rng=np.random.default_rng(1))
    assert found.snr_squared_low == pytest.approx(-1 / 40) and found.snr_low == 0.0
    assert found.snr_squared_high > found.snr_squared_low


def test_two_thousand_replicates_by_default() -> None:
    gradients = draw(5)
    default = bootstrap_snr(gradients, rng=np.random.default_rng(1))
    assert default == bootstrap_snr(gradients, replicates=2000, rng=np.random.default_rng(1), confidence=0.95)
    assert default == bootstrap_snr_from_gram(gradients @ gradients.T, rng=np.random.default_rng(1))


@common
@given(seeds, st.integers(3, 30), st.floats(0, 3), st.sampled_from([1e-6, 1.0, 1e6]))
def test_scale_changes_nothing_and_only_the_interval_differs_from_the_jackknife(seed: int, n: int, shift: float, scale: float) -> None:
    gradients = draw(seed, n=n, shift=shift)
    found = bootstrap_snr(gradients * scale, replicates=100, rng=np.random.default_rng(seed))
    base = bootstrap_snr_from_gram(gradients @ gradients.T, replicates=100, rng=np.random.default_rng(seed))
    assert (found.snr_squared_low, found.snr_squared_high) == pytest.approx((base.snr_squared_low, base.snr_squared_high), rel=1e-6)
    jackknife = estimate_snr(gradients)
    for field in ("n", "snr_squared", "snr", "naive_snr", "floor", "clipped"):
        assert getattr(base, field) == pytest.approx(getattr(jackknife, field), rel=1e-9, abs=1e-12)
    assert base.snr_squared_low <= base.snr_squared_high and base.snr_squared_low >= -1 / n - 1e-12


@common
@given(seeds, st.integers(5, 20))
def test_intervals_widen_with_confidence_and_repeat_with_the_seed(seed: int, n: int) -> None:
    gradients = draw(seed, n=n)
    narrow, wide, again = (bootstrap_snr(gradients, replicates=200, rng=np.random.default_rng(seed), confidence=c) for c in (0.6, 0.9, 0.9))
    assert wide == again
    assert wide.snr_squared_low <= narrow.snr_squared_low <= narrow.snr_squared_high <= wide.snr_squared_high


@pytest.mark.parametrize(("n", "dimension", "snr_squared"), [(20, 30, 0.0), (50, 30, 0.1), (50, 10, 0.5)])
def test_intervals_cover(n: int, dimension: int, snr_squared: float) -> None:
    rng, runs, hits = np.random.default_rng(n + dimension), 600, 0
    for _ in range(runs):
        gradients = rng.standard_normal((n, dimension))
        gradients[:, 0] += math.sqrt(snr_squared * dimension)
        found = bootstrap_snr(gradients, replicates=200, rng=rng)
        hits += found.snr_squared_low <= snr_squared <= found.snr_squared_high
    assert hits >= stats.binom.ppf(1e-3, runs, 0.94)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: bootstrap_snr(np.ones((2, 3)), rng=rng), r"n >= 3 and d >= 1, got shape \(2, 3\)"),
        (
            lambda rng: bootstrap_snr([1.0, 2.0, 3.0], rng=rng),
            r"gradients must be an \(n, d\) array with n >= 3 and d >= 1, got shape \(3,\)",
        ),
        (lambda rng: bootstrap_snr([[1.0], [math.nan], [2.0]], rng=rng), "gradients must be .* got nan"),
        (lambda rng: bootstrap_snr(np.ones((5, 3)), rng=rng), "the gradients do not differ"),
        (lambda rng: bootstrap_snr(draw(0), replicates=1, rng=rng), "replicates must be an integer >= 2, got 1"),
        (lambda rng: bootstrap_snr(draw(0), confidence=1.0, rng=rng), "confidence must be a number strictly between 0 and 1, got 1"),
        (lambda rng: bootstrap_snr_from_gram(np.ones((2, 3)), rng=rng), "gram must be a square matrix"),
    ],
)
def test_errors_name_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))
