"""The test of a flat SNR against Cochran's Q where errors are the same on both sides, a plain grid where they are not, and by simulation."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from paced_theory.snr import SNREstimate, estimate_snr, flat_snr_test

Z = stats.norm.ppf(0.975)
ANY = estimate_snr(np.random.default_rng(0).standard_normal((20, 5)))


def estimate(value: float, below: float, above: float, confidence: float = 0.95) -> SNREstimate:
    """An estimate with these standard errors towards each side."""
    z = stats.norm.ppf(0.5 + confidence / 2)
    return replace(ANY, snr_squared=value, snr_squared_low=value - z * below, snr_squared_high=value + z * above, confidence=confidence)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_with_equal_errors_on_both_sides_it_is_cochrans_test(confidence: float) -> None:
    values, errors = np.array([0.01, 0.012, 0.003, 0.02]), np.array([0.002, 0.003, 0.001, 0.006])
    found = flat_snr_test([estimate(v, e, e, confidence) for v, e in zip(values, errors, strict=True)])
    centre = np.average(values, weights=errors**-2)
    statistic = (((values - centre) / errors) ** 2).sum()
    assert found.snr_squared == pytest.approx(centre) and found.statistic == pytest.approx(statistic)
    assert found.degrees == 3 and found.p_value == pytest.approx(stats.chi2.sf(statistic, 3))


def test_unequal_errors_count_on_the_side_of_the_common_value() -> None:
    rows = [(0.01, 0.004, 0.001), (0.0, 0.001, 0.002), (0.02, 0.02, 0.001), (0.006, 0.001, 0.001)]
    found = flat_snr_test([estimate(*row) for row in rows])
    grid = np.linspace(0, 0.02, 200_001)
    total = np.zeros_like(grid)
    for value, below, above in rows:
        total += np.where(grid < value, (value - grid) / below, (grid - value) / above) ** 2
    assert found.statistic == pytest.approx(total.min(), rel=1e-6)
    assert found.snr_squared == pytest.approx(grid[total.argmin()], abs=2e-7)


def test_equal_estimates_give_one() -> None:
    found = flat_snr_test([estimate(0.01, 0.001, 0.002)] * 3)
    assert (found.p_value, found.statistic, found.snr_squared) == (1.0, 0.0, 0.01)


def test_norms_and_directions_that_differ_by_bin_do_not_make_it_reject() -> None:
    rng, runs, rejected = np.random.default_rng(2), 150, 0
    for _ in range(runs):
        bins = []
        for axis, spread in enumerate((0.0, 0.6, 1.2)):
            lengths = (1 + axis) * np.exp(spread * rng.standard_normal(100))[:, None]
            # SNR^2 of r (mu + e) is m / (exp(s^2)(m + d) - m); 0.02 in all bins, each along its own axis
            d, factor = 50, math.exp(spread**2)
            m = 0.02 * factor * d / (1 + 0.02 - 0.02 * factor)
            g = rng.standard_normal((100, d))
            g[:, axis] += math.sqrt(m)
            bins.append(estimate_snr(lengths * g))
        rejected += flat_snr_test(bins).p_value <= 0.05
    assert rejected <= stats.binom.ppf(1 - 1e-3, runs, 0.05)


@pytest.mark.parametrize(
    ("estimates", "message"),
    [
        ([ANY], "a test of equal SNR needs at least 2 bins, got 1"),
        ([estimate(0.1, 1, 1), estimate(0.1, 1, 1, 0.9)], r"intervals of one confidence, got \[0.9, 0.95\]"),
        ([estimate(0.1, 1, 1), estimate(0.2, 0.0, 1)], r"estimate \[1\] has an interval that does not reach beyond its value 0.2"),
    ],
)
def test_errors_name_what_is_wrong(estimates: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flat_snr_test(estimates)
