"""Estimators of the gradient SNR: exact expectations over small laws, a leave-one-out loop, coverage by simulation, enumerated nulls."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from paced_theory.snr import (
    combine,
    effective_rank,
    estimate_snr,
    estimate_snr_from_gram,
    estimate_snr_from_sums,
    gram_from_sketch,
    permutation_null,
    problems_needed,
    sign_flip_null,
    signal_and_noise,
)

VALUES = np.array([[1.0, 0.5], [-0.3, 2.0], [0.7, -1.1], [0.2, 0.1]])
PROBABILITIES = np.array([0.4, 0.3, 0.2, 0.1])


def sums_of(sample: np.ndarray) -> tuple[int, float, float]:
    total = sample.sum(axis=0)
    return len(sample), float(total @ total), float((sample**2).sum())


def gaussian(rng: np.random.Generator, n: int, spectrum: np.ndarray, snr_squared: float) -> np.ndarray:
    """n Gaussian gradients with covariance diag(spectrum), their mean along the first axis."""
    gradients = rng.standard_normal((n, len(spectrum))) * np.sqrt(spectrum)
    gradients[:, 0] += math.sqrt(snr_squared * spectrum.sum())
    return gradients


# ---- point estimates


@pytest.mark.parametrize("n", [2, 3, 5])
def test_signal_and_noise_are_unbiased_exactly(n: int) -> None:
    mean = PROBABILITIES @ VALUES
    noise = float(PROBABILITIES @ ((VALUES - mean) ** 2).sum(axis=1))
    expected = np.zeros(2)
    for draw in itertools.product(range(4), repeat=n):
        expected += np.prod(PROBABILITIES[list(draw)]) * np.array(signal_and_noise(*sums_of(VALUES[list(draw)])))
    assert expected == pytest.approx([mean @ mean, noise], rel=1e-12)


def test_the_naive_square_is_biased_by_the_noise_over_n() -> None:
    mean, n = PROBABILITIES @ VALUES, 3
    noise = float(PROBABILITIES @ ((VALUES - mean) ** 2).sum(axis=1))
    naive = 0.0
    for draw in itertools.product(range(4), repeat=n):
        naive += np.prod(PROBABILITIES[list(draw)]) * sums_of(VALUES[list(draw)])[1] / n**2
    assert naive == pytest.approx(mean @ mean + noise / n, rel=1e-12)


def test_fields_by_hand() -> None:
    # Gradients 1, 2, 6: sum 9, squares 41, so s^2 = (81 - 41)/6 = 20/3 and n2 = the sample variance (41 - 27)/2 = 7.
    found = estimate_snr([[1.0], [2.0], [6.0]])
    assert (found.n, found.clipped) == (3, False)
    assert found.signal_squared == pytest.approx(20 / 3) and found.noise == pytest.approx(7.0)
    assert found.snr_squared == pytest.approx(20 / 21) and found.snr == pytest.approx(math.sqrt(20 / 21))
    assert found.naive_snr == pytest.approx(3 / math.sqrt(7)) and found.floor == pytest.approx(1 / math.sqrt(3))
    assert found.snr_squared_low < found.snr_squared < found.snr_squared_high
    assert found.snr_low == math.sqrt(max(0.0, found.snr_squared_low)) and found.snr_high == math.sqrt(found.snr_squared_high)


def test_a_negative_estimate_is_kept_in_the_square_and_clipped_in_the_root() -> None:
    found = estimate_snr([[1.0, 0.0], [-1.0, 0.1], [0.0, -0.1]])
    assert found.snr_squared < 0 and found.clipped and found.snr == found.snr_low == 0.0
    assert found.snr_squared_low == pytest.approx(-1 / 3), "the least value that ||mean g||^2/n2 - 1/n can take"


# ---- intervals


def naive_snr(sample: np.ndarray) -> float:
    n, total, squares = sums_of(sample)
    return math.sqrt(total) / n / math.sqrt(signal_and_noise(n, total, squares)[1])


@pytest.mark.parametrize("n", [3, 4, 17])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_the_jackknife_is_that_of_a_leave_one_out_loop(n: int, confidence: float) -> None:
    sample = np.random.default_rng(n).normal(0.3, 1.0, (n, 6))
    left = np.array([naive_snr(np.delete(sample, i, axis=0)) for i in range(n)])
    half = stats.t.ppf(0.5 + confidence / 2, n - 1) * math.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
    found = estimate_snr(sample, confidence=confidence)
    assert found.naive_snr == pytest.approx(naive_snr(sample), rel=1e-12)
    assert found.snr_squared_low + found.tail_bias == pytest.approx(max(0.0, naive_snr(sample) - half) ** 2 - 1 / n, rel=1e-9)
    assert found.snr_squared_high == pytest.approx((naive_snr(sample) + half) ** 2 - 1 / n, rel=1e-9)


ISOTROPIC = np.ones(30)
POWER_LAW = 1 / np.arange(1.0, 101.0)  # effective rank 16.5; the signal lies along its leading direction, the hardest one
COVERAGE_RUNS = 2000


# Nominal 95 %. Not below it, but for the least favourable law, whose 93 % at n = 100 the module's docstring states; without signal it is
# wider than needed, by sqrt(2) (documented).
@pytest.mark.parametrize(
    ("n", "spectrum", "snr_squared", "nominal"),
    [
        (100, ISOTROPIC, 0.0, 0.95),
        (100, ISOTROPIC, 0.02, 0.95),
        (100, ISOTROPIC, 0.5, 0.95),
        (20, ISOTROPIC, 0.1, 0.95),
        (100, POWER_LAW, 0.0, 0.95),
        (100, POWER_LAW, 0.1, 0.95),
        (100, POWER_LAW, 0.02, 0.92),
        (100, np.ones(1), 0.0, 0.95),
        (100, np.ones(1), 0.05, 0.95),
    ],
)
def test_intervals_cover(n: int, spectrum: np.ndarray, snr_squared: float, nominal: float) -> None:
    rng = np.random.default_rng(int(1e4 * snr_squared) + n + len(spectrum))
    low, high, estimates = np.empty(COVERAGE_RUNS), np.empty(COVERAGE_RUNS), np.empty(COVERAGE_RUNS)
    for run in range(COVERAGE_RUNS):
        found = estimate_snr(gaussian(rng, n, spectrum, snr_squared))
        low[run], high[run], estimates[run] = found.snr_squared_low, found.snr_squared_high, found.snr_squared
    covered = int(((low <= snr_squared) & (snr_squared <= high)).sum())
    assert covered >= stats.binom.ppf(1e-3, COVERAGE_RUNS, nominal)
    assert (high - low).mean() <= 1.6 * 3.92 * estimates.std(), "an interval that covers by being wide is of no use"


def test_combined_bins_cover_and_err_equally_rarely_on_both_sides() -> None:
    # The verdict's own quantity, at the boundary between collapse and none: an end with half the middle's SNR^2.
    rng, runs = np.random.default_rng(3), 2000
    middle, end, weights = 0.1, 0.05, [1.0, -0.25, -0.25]
    above = below = 0
    for _ in range(runs):
        bins = [estimate_snr(gaussian(rng, 60, POWER_LAW, value)) for value in (end, middle, middle)]
        value, low, high = combine(bins, weights)
        assert value == pytest.approx(bins[0].snr_squared - (bins[1].snr_squared + bins[2].snr_squared) / 4)
        below, above = below + (high < 0), above + (low > 0)
    assert max(below, above) <= stats.binom.ppf(1 - 1e-3, runs, 0.04)


def test_combining_one_bin_gives_its_interval_mirrored_by_a_negative_weight() -> None:
    bin_ = estimate_snr(np.random.default_rng(0).normal(0.4, 1.0, (30, 5)))
    assert combine([bin_], [1.0]) == pytest.approx((bin_.snr_squared, bin_.snr_squared_low, bin_.snr_squared_high))
    assert combine([bin_], [-2.0]) == pytest.approx((-2 * bin_.snr_squared, -2 * bin_.snr_squared_high, -2 * bin_.snr_squared_low))


# ---- the three ways in, and invariances


finite = st.floats(-10, 10).map(lambda x: round(x, 3))
samples = st.integers(3, 8).flatmap(
    lambda n: st.integers(1, 4).flatmap(lambda d: st.lists(st.lists(finite, min_size=d, max_size=d), min_size=n, max_size=n))
)


def spread_out(rows: list[list[float]]) -> np.ndarray | None:
    """The sample, unless leaving one out leaves (nearly) equal gradients."""
    sample = np.array(rows)
    least = min(np.var(np.delete(sample, i, axis=0), axis=0).sum() for i in range(len(sample)))
    return sample if least > 1e-3 else None


def assert_same(found: Any, expected: Any, scale: float = 1.0) -> None:
    for name in ("snr_squared", "snr_squared_low", "snr_squared_high", "naive_snr"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-6, abs=1e-7), name
    assert found.signal_squared == pytest.approx(scale * expected.signal_squared, rel=1e-6, abs=1e-6 * scale)
    assert found.noise == pytest.approx(scale * expected.noise, rel=1e-6)


@given(samples, st.sampled_from([1e-12, 1e-3, 7.0, 1e12]), st.integers(0, 2**32 - 1))
def test_scale_rotation_and_order_change_nothing(rows: list[list[float]], scale: float, seed: int) -> None:
    sample = spread_out(rows)
    if sample is None:
        return
    rng = np.random.default_rng(seed)
    expected = estimate_snr(sample)
    rotation = np.linalg.qr(rng.normal(size=(sample.shape[1] + 2, sample.shape[1] + 2)))[0][: sample.shape[1]]
    assert_same(estimate_snr(sample * scale), expected, scale**2)
    assert_same(estimate_snr(sample @ rotation), expected)
    assert_same(estimate_snr(rng.permutation(sample)), expected)


@given(samples)
def test_gram_matrix_and_sums_give_the_same(rows: list[list[float]]) -> None:
    sample = spread_out(rows)
    if sample is None:
        return
    expected = estimate_snr(sample)
    total = sample.sum(axis=0)
    assert_same(estimate_snr_from_gram(sample @ sample.T), expected)
    assert_same(estimate_snr_from_sums((sample**2).sum(axis=1), sample @ total, sum_norm_squared=float(total @ total)), expected)
    assert_same(estimate_snr_from_gram(gram_from_sketch(sample, (sample**2).sum(axis=1))), expected)


def test_a_known_sum_replaces_what_a_sketch_says_of_it() -> None:
    rng = np.random.default_rng(1)
    sample = rng.normal(0.2, 1.0, (40, 300))
    signs = rng.choice([-1.0, 1.0], size=(300, 256)) / 16  # a dense sketch: inner products without bias
    gram = gram_from_sketch(sample @ signs, (sample**2).sum(axis=1))
    assert np.diag(gram) == pytest.approx((sample**2).sum(axis=1), rel=1e-14)
    assert gram[0, 1] == pytest.approx(float((sample @ signs)[0] @ (sample @ signs)[1]))
    exact = estimate_snr(sample)
    total = sample.sum(axis=0)
    found = estimate_snr_from_gram(gram, sum_norm_squared=float(total @ total))
    assert found.snr_squared == pytest.approx(exact.snr_squared, rel=1e-12) and found.noise == pytest.approx(exact.noise, rel=1e-12)
    assert estimate_snr_from_gram(gram).snr_squared != pytest.approx(exact.snr_squared, rel=1e-3)
    width, exact_width = found.snr_squared_high - found.snr_squared_low, exact.snr_squared_high - exact.snr_squared_low
    # The sketch adds 1/size to the 1/rank that projections vary by.
    assert width / exact_width == pytest.approx(math.sqrt(1 + 300 / 256), rel=0.25)


# ---- nulls


def test_sign_flips_follow_the_enumerated_law() -> None:
    sample = np.array([[1.0, 0.2], [0.4, -1.0], [-0.7, 0.3], [0.5, 0.9]])
    exact = []
    for signs in itertools.product([-1, 1], repeat=4):
        signal, noise = signal_and_noise(*sums_of(np.array(signs)[:, None] * sample))
        exact.append(signal / noise)
    drawn = sign_flip_null(sample @ sample.T, replicates=8000, rng=np.random.default_rng(0))
    atoms, counts = np.unique(np.round(exact, 9), return_counts=True)
    seen = [int(np.isclose(drawn, atom, atol=1e-8).sum()) for atom in atoms]
    assert sum(seen) == 8000
    assert stats.chisquare(seen, counts / 16 * 8000).pvalue > 1e-3
    assert np.array_equal(drawn, sign_flip_null(sample @ sample.T, replicates=8000, rng=np.random.default_rng(0)))


def test_permutations_follow_the_enumerated_law_in_every_bin() -> None:
    pool, sizes = np.array([[1.0, 0.2], [0.4, -1.0], [-0.7, 0.3], [0.5, 0.9], [2.0, 1.0]]), [2, 3]
    exact = []
    for order in itertools.permutations(range(5)):
        pair = [signal_and_noise(*sums_of(pool[list(part)])) for part in (order[:2], order[2:])]
        exact.append([signal / noise for signal, noise in pair])
    drawn = permutation_null(pool, sizes, replicates=6000, rng=np.random.default_rng(0))
    assert drawn.shape == (6000, 2)
    atoms, counts = np.unique(np.round(exact, 5), axis=0, return_counts=True)
    seen = [int(np.isclose(drawn, atom, atol=1e-4).all(axis=1).sum()) for atom in atoms]
    assert sum(seen) == 6000
    assert stats.chisquare(seen, counts / 120 * 6000).pvalue > 1e-3


# ---- how many problems


def test_problems_needed_detects_with_the_stated_power_and_no_sooner() -> None:
    rng = np.random.default_rng(5)
    snr_squared, rank, runs = 0.01, 60, 4000
    n = problems_needed(snr_squared, effective_rank=rank)

    def share_detected(n: int) -> float:
        total = n * rng.noncentral_chisquare(rank, n * snr_squared * rank, runs)
        about = rng.chisquare(rank * (n - 1), runs)
        ratio = (total - (about + total / n)) / (n * (n - 1)) / (about / (n - 1))
        return float((ratio > stats.norm.ppf(0.975) * math.sqrt(2 / rank) / n).mean())

    assert share_detected(n) == pytest.approx(0.8, abs=0.04)
    assert share_detected(n // 2) < 0.5


def test_problems_needed_is_the_least_such_number_and_monotone() -> None:
    def enough(n: int, snr_squared: float, rank: float, level: float, power: float) -> bool:
        null = math.sqrt(2 / rank) / n
        spread = math.sqrt(2 / (rank * n**2) + 4 * snr_squared / (rank * n))
        return snr_squared >= stats.norm.isf(level) * null + stats.norm.ppf(power) * spread

    for arguments in [(0.01, 20.0, 0.025, 0.8), (0.5, 1.0, 0.05, 0.9), (0.002, 300.0, 0.01, 0.5)]:
        snr_squared, rank, level, power = arguments
        n = problems_needed(snr_squared, effective_rank=rank, level=level, power=power)
        assert enough(n, *arguments) and not enough(n - 1, *arguments)
    by_snr = [problems_needed(value, effective_rank=20) for value in (0.001, 0.01, 0.1, 1.0)]
    by_rank = [problems_needed(0.01, effective_rank=value) for value in (1, 10, 100)]
    by_power = [problems_needed(0.01, effective_rank=20, power=value) for value in (0.5, 0.8, 0.99)]
    by_level = [problems_needed(0.01, effective_rank=20, level=value) for value in (0.2, 0.025, 0.001)]
    assert by_snr == sorted(by_snr, reverse=True) and by_rank == sorted(by_rank, reverse=True)
    assert by_power == sorted(by_power) and by_level == sorted(by_level)


def test_effective_rank_of_known_spectra() -> None:
    rng = np.random.default_rng(6)
    for spectrum in (np.ones(20), POWER_LAW, np.ones(1)):
        expected = spectrum.sum() ** 2 / (spectrum**2).sum()
        found = np.mean([effective_rank(g @ g.T) for g in (gaussian(rng, 200, spectrum, 0.3) for _ in range(20))])
        assert found == pytest.approx(expected, rel=0.06)


# ---- errors

GRAM = np.diag([1.0, 2.0, 3.0])
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: signal_and_noise(1, 1.0, 1.0), "n must be an integer >= 2, got 1"),
        (lambda: signal_and_noise(2, -1.0, 1.0), "sum_norm_squared must be a finite number >= 0, got -1"),
        (lambda: signal_and_noise(2, 1.0, math.nan), "norms_squared_sum must be a finite number >= 0, got nan"),
        (lambda: estimate_snr([1.0, 2.0, 3.0]), r"n >= 3 and d >= 1, got shape \(3,\)"),
        (lambda: estimate_snr([[1.0], [2.0]]), r"n >= 3 and d >= 1, got shape \(2, 1\)"),
        (lambda: estimate_snr(np.ones((4, 0))), r"got shape \(4, 0\)"),
        (lambda: estimate_snr([[1.0], [math.inf], [2.0]]), "gradients must be an array of finite real numbers, got inf at"),
        (lambda: estimate_snr(GRAM, confidence=95), "confidence must be a number strictly between 0 and 1, got 95"),
        (lambda: estimate_snr(np.tile(RNG.normal(size=7), (5, 1))), "the gradients do not differ"),
        (lambda: estimate_snr(np.zeros((5, 3))), "the gradients do not differ"),
        (lambda: estimate_snr([[1.0], [1.0], [2.0]]), "the gradients do not differ"),
        (
            lambda: estimate_snr_from_gram(np.ones((2, 3))),
            r"gram must be a square matrix .* of at least two gradients, got float64 in shape \(2, 3\)",
        ),
        (lambda: estimate_snr_from_gram(GRAM[:2, :2]), "length >= 3"),
        (lambda: estimate_snr_from_gram(GRAM * math.nan), "gram must be finite"),
        (lambda: estimate_snr_from_gram(GRAM + np.triu(np.ones((3, 3)))), "gram must be symmetric"),
        (lambda: estimate_snr_from_gram(GRAM, sum_norm_squared=-1.0), "sum_norm_squared must be a finite number >= 0"),
        (lambda: estimate_snr_from_sums([1.0, 2.0, 3.0], [1.0, 2.0]), r"one length >= 3, got shapes \(3,\) and \(2,\)"),
        (
            lambda: estimate_snr_from_sums([1.0, 2.0, math.nan], [1.0, 2.0, 3.0]),
            r"norms_squared must be an array of finite real numbers, got nan at index \[2\]",
        ),
        (lambda: combine([], []), "one length >= 1, got 0 and 0"),
        (lambda: gram_from_sketch(np.ones((3, 2)), np.ones(2)), r"got shapes \(3, 2\) and \(2,\)"),
        (lambda: gram_from_sketch(np.full((2, 2), np.nan), np.ones(2)), "sketches and norms_squared must be finite"),
        (lambda: gram_from_sketch(np.ones((2, 2)), np.array([1.0, np.inf])), "sketches and norms_squared must be finite"),
        (lambda: permutation_null(np.ones((4, 2)), [2, 3], replicates=1, rng=RNG), r"sum to the number of vectors, got \[2, 3\] for 4"),
        (lambda: permutation_null(np.ones((4, 2)), [1, 3], replicates=1, rng=RNG), "sizes must be integers >= 2"),
        (lambda: permutation_null(np.ones((4, 2)), [2, 2], replicates=0, rng=RNG), "replicates must be an integer >= 1, got 0"),
        (lambda: sign_flip_null(GRAM, replicates=0, rng=RNG), "replicates must be an integer >= 1, got 0"),
        (lambda: problems_needed(0.0, effective_rank=2), "snr_squared must be a finite number > 0, got 0"),
        (lambda: problems_needed(math.nan, effective_rank=2), "snr_squared must be a finite number > 0, got nan"),
        (lambda: problems_needed(0.1, effective_rank=0.5), "effective_rank must be at least 1, got 0.5"),
        (lambda: problems_needed(0.1, effective_rank=2, level=0), "level must be a number strictly between 0 and 1, got 0"),
        (lambda: problems_needed(0.1, effective_rank=2, power=1), "power must be a number strictly between 0 and 1, got 1"),
        (lambda: effective_rank(GRAM[:2, :2]), "an effective rank needs at least 3 gradients, got 2"),
    ],
)
def test_errors_name_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
