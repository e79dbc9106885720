"""Trimmed and unit-norm SNR, and the allowance for the norms' tail: plain loops over gradients, closed forms, known laws."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from paced_theory.norm_tail import log_spread, spread_of_log_mean, tail_share
from paced_theory.snr import estimate_snr, estimate_snr_from_gram, gram_from_sketch, trimmed_snr, unit_norm_snr

RNG = np.random.default_rng(4)
SAMPLE = RNG.standard_normal((40, 6)) * RNG.lognormal(0, 1, (40, 1)) + 0.3
GRAM = SAMPLE @ SAMPLE.T


def naive(sample: np.ndarray) -> float:
    centred = sample - sample.mean(axis=0)
    return float(np.linalg.norm(sample.mean(axis=0)) / math.sqrt((centred**2).sum() / (len(sample) - 1)))


def without_largest(sample: np.ndarray, count: int) -> np.ndarray:
    return sample[np.sort(np.argsort((sample**2).sum(axis=1))[: len(sample) - count])]


def test_the_trimmed_estimate_is_that_of_the_kept_gradients() -> None:
    kept = without_largest(SAMPLE, 4)
    found, expected = trimmed_snr(GRAM, share=0.1), estimate_snr(kept)
    for name in ("n", "signal_squared", "noise", "snr_squared", "naive_snr", "floor", "effective_n"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name)), name
    assert found.tail_bias == 0.0


def test_the_trimmed_interval_is_that_of_a_loop_which_trims_each_sample_anew() -> None:
    left = np.array([naive(without_largest(np.delete(SAMPLE, i, axis=0), 4)) for i in range(40)])
    half = stats.t.ppf(0.975, 39) * math.sqrt(39 / 40 * ((left - left.mean()) ** 2).sum())
    found, value = trimmed_snr(GRAM, share=0.1), naive(without_largest(SAMPLE, 4))
    assert found.snr_squared_high == pytest.approx((value + half) ** 2 - 1 / 36)
    assert found.snr_squared_low == pytest.approx(max(0.0, value - half) ** 2 - 1 / 36)


def test_a_known_sum_is_corrected_by_what_the_sketch_says_of_those_left_out() -> None:
    total = float((SAMPLE.sum(axis=0) ** 2).sum())
    exact = trimmed_snr(GRAM, share=0.1, sum_norm_squared=total)
    assert exact.snr_squared == pytest.approx(trimmed_snr(GRAM, share=0.1).snr_squared)
    shifted = trimmed_snr(GRAM, share=0.1, sum_norm_squared=total + 36.0)
    assert shifted.signal_squared - exact.signal_squared == pytest.approx(36.0 / (36 * 35))


def test_the_unit_norm_estimate_is_that_of_the_directions() -> None:
    found, expected = unit_norm_snr(GRAM), estimate_snr(SAMPLE / np.linalg.norm(SAMPLE, axis=1, keepdims=True))
    for name in ("signal_squared", "noise", "snr_squared", "snr_squared_low", "snr_squared_high", "effective_n", "tail_bias"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-12), name
    assert found.effective_n == pytest.approx(40) and found.signal_squared + found.noise == pytest.approx(1.0)


def test_a_sketch_gives_the_unit_norm_estimate_within_its_stated_error() -> None:
    rng = np.random.default_rng(7)
    sample, size = rng.standard_normal((60, 400)) + 0.1, 1000
    exact, errors = unit_norm_snr(sample @ sample.T).snr_squared, []
    for _ in range(40):
        sketch = sample @ rng.choice([-1.0, 1.0], size=(400, size)) / math.sqrt(size)
        errors.append(unit_norm_snr(gram_from_sketch(sketch, (sample**2).sum(axis=1))).snr_squared - exact)
    assert np.sqrt(np.mean(np.square(errors))) < 1.2 * math.sqrt(2 / size) * (exact + 1 / 60)


# ---- the tail


def law_of_upper_half(norms_squared: np.ndarray) -> float:
    """The sample's mean over the mean of its lower half and a log-normal upper half, by numpy's fit and quadrature."""
    ordered = np.sort(norms_squared)
    n, start = len(ordered), len(ordered) // 2
    scores = stats.norm.ppf((np.arange(1, n + 1) - 0.375) / (n + 0.25))
    slope, level = np.polyfit(scores[start:], np.log(ordered[start:]), 1)
    cut = stats.norm.ppf(start / n)
    upper = integrate.quad(lambda z: math.exp(level + slope * z) * stats.norm.pdf(z), cut, cut + 30)[0]
    return min(1.0, ordered.mean() / (ordered[:start].sum() / n + upper))


@pytest.mark.parametrize("n", [4, 7, 50])
@pytest.mark.parametrize("spread", [0.1, 1.0, 2.4])
def test_the_tail_is_that_of_a_fit_and_a_quadrature(n: int, spread: float) -> None:
    norms = np.random.default_rng(n).lognormal(1.0, spread, n)
    assert tail_share(norms) == pytest.approx(law_of_upper_half(norms), rel=1e-8)
    assert tail_share(1e-200 * norms) == pytest.approx(tail_share(norms))


def test_little_is_unseen_of_light_tails_and_about_the_true_share_of_a_log_normal_one() -> None:
    rng = np.random.default_rng(8)
    assert tail_share(rng.chisquare(200, 1000)) > 0.995 and tail_share(np.ones(10)) == 1.0
    shares, seen = [], []
    for _ in range(200):
        norms = rng.lognormal(0, 2.4, 400)
        shares.append(tail_share(norms))
        seen.append(norms.mean() / math.exp(2.4**2 / 2))
    assert np.median(shares) == pytest.approx(np.median(seen), abs=0.1)


@pytest.mark.parametrize("norms", [[0.0, 0.0, 0.0, 2.0], [0.0, 0.0, 1.0, 2.0], [1e-300, 1e-150, 1.0, 1e150]])
def test_zero_and_extreme_norms_have_a_share(norms: list[float]) -> None:
    assert 0 <= tail_share(np.array(norms)) <= 1


@pytest.mark.parametrize("slope", [0.3, 1.0, 1.4, 2.4])
@pytest.mark.parametrize("n", [30, 300])
def test_the_scatter_of_a_mean_is_that_of_simulated_means(slope: float, n: int) -> None:
    """Other draws than the package's own; 3,000 means have a spread that is known to 2 %, the package's 256 one to 5 %."""
    logs = np.log(np.random.default_rng(11).lognormal(0, slope, (3000, n)).mean(axis=1))
    assert spread_of_log_mean(slope, n) == pytest.approx(logs.std(), rel=0.15)
    assert spread_of_log_mean(slope, n) == spread_of_log_mean(slope, n)


def test_the_scatter_is_that_of_the_upper_halfs_law() -> None:
    rng = np.random.default_rng(12)
    norms = rng.lognormal(3.0, 2.0, 4000)
    found = [log_spread(rng.permutation(norms)[:500]) for _ in range(40)]
    assert np.median(found) == pytest.approx(spread_of_log_mean(2.0, 500), rel=0.15)
    # Of the norms' scale it knows nothing, and of what lies below the median neither.
    lower = np.where(norms < np.median(norms), 1e-3 * norms, norms)
    for other in (lower, 1e-100 * norms):
        assert log_spread(other) == pytest.approx(log_spread(norms), rel=1e-9)
    assert log_spread(np.array([0.0, 0.0, 0.0, 2.0])) == 0.0 and log_spread(np.ones(10)) == 0.0
    assert np.isfinite(log_spread(np.array([1e-300, 1e-150, 1.0, 1e150])))


def test_the_lower_limit_alone_is_moved_by_the_unseen_share_of_the_estimate() -> None:
    sample = np.random.default_rng(9).lognormal(0, 1.2, (100, 1)) * (np.random.default_rng(10).standard_normal((100, 50)) + 0.2)
    found, bare = estimate_snr(sample), trimmed_snr(sample @ sample.T, share=1e-9)
    assert bare.n == 99 and found.snr_squared > 0
    assert found.tail_bias == pytest.approx((1 - tail_share((sample**2).sum(axis=1))) * found.snr_squared) and found.tail_bias > 0
    assert found.bias == pytest.approx(
        99 * (np.mean([estimate_snr(np.delete(sample, i, axis=0)).snr_squared for i in range(100)]) - found.snr_squared)
    )


def test_an_estimate_that_a_few_gradients_carry_is_not_trusted() -> None:
    sample = np.random.default_rng(11).standard_normal((50, 20))
    assert estimate_snr(sample).trusted
    sample[0] *= 100
    carried = estimate_snr(sample)
    assert not carried.trusted and carried.effective_n == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trimmed_snr(GRAM, share=0.95), "a trimmed SNR needs at least 3 gradients, got 40 less the 38 largest"),
        (lambda: trimmed_snr(GRAM, share=1.0), "share must be a number strictly between 0 and 1, got 1"),
        (lambda: unit_norm_snr(np.diag([1.0, 0.0, 2.0])), r"gradient \[1\] has squared norm 0, so it has no direction"),
        (lambda: unit_norm_snr(np.eye(2)), "gram must be of at least 3 gradients, got 2"),
        (lambda: unit_norm_snr(np.ones((4, 4))), "the gradients do not differ"),
        (lambda: estimate_snr_from_gram(np.ones((4, 4))), "the gradients do not differ"),
    ],
)
def test_errors_name_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
