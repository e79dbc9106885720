"""Trimmed and unit-norm SNR^2: those of the gradients that are left, and of gradients scaled to one, whatever the largest do."""

import numpy as np
import pytest

from paced_exp.gradients import GradientSums
from paced_exp.probe.estimands import kept, largest_share, trimmed_snr, unit_norm_snr
from paced_exp.probe.estimates import BinData, estimate_curve
from paced_theory.snr import estimate_snr


def heavy(n: int = 101, m: int = 30) -> np.ndarray:
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(n, m)) + 0.3
    gradients[[5, 50, 77]] *= 40.0
    return gradients


def gram_of(gradients: np.ndarray) -> np.ndarray:
    return gradients @ gradients.T


@pytest.mark.parametrize(("share", "left"), [(0.01, 2), (0.03, 4), (0.5, 51)])
def test_trimmed_is_the_estimate_of_what_remains_without_the_largest(share: float, left: int) -> None:
    gradients = heavy()
    norms = (gradients**2).sum(1)
    remaining = gradients[np.sort(np.argsort(norms)[: len(gradients) - left])]
    found, wanted = trimmed_snr(gram_of(gradients), confidence=0.95, share=share), estimate_snr(remaining)
    for name in ("n", "snr_squared", "snr_squared_low", "snr_squared_high"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-9)
    assert kept(norms, share).size == 101 - left
    assert largest_share(norms, share) == pytest.approx(1 - (remaining**2).sum() / norms.sum())


def test_unit_norm_is_the_estimate_of_the_directions_and_no_scale_changes_it() -> None:
    gradients = heavy()
    wanted = estimate_snr(gradients / np.linalg.norm(gradients, axis=1, keepdims=True))
    scaled = gradients * np.geomspace(1e-3, 1e3, 101)[:, None]
    for rows in (gradients, scaled, np.vstack([scaled, np.zeros((2, 30))])):  # one of norm zero has no direction
        found = unit_norm_snr(gram_of(rows), confidence=0.95)
        assert (found.n, found.snr_squared) == (101, pytest.approx(wanted.snr_squared, rel=1e-9))
        assert found.snr_squared_high == pytest.approx(wanted.snr_squared_high, rel=1e-9)


def test_with_real_sketches_the_trimmed_sum_is_right_on_average() -> None:
    """Inner products from random projections of 64 numbers, the mean over 400 of them."""
    gradients = heavy(m=300)
    norms = (gradients**2).sum(1)
    exact = estimate_snr(gradients[np.sort(np.argsort(norms)[:-4])]).signal_squared
    found = []
    for seed in range(400):
        projection = np.random.default_rng(seed).choice([-1.0, 1.0], size=(300, 64)) / 8
        sketched = (gradients @ projection) @ (gradients @ projection).T
        np.fill_diagonal(sketched, norms)
        found.append(trimmed_snr(sketched, confidence=0.95, share=0.03).signal_squared)
    assert abs(np.mean(found) - exact) < 4 * np.std(found) / np.sqrt(len(found))


def test_every_row_of_a_record_has_them() -> None:
    gradients = heavy()
    sums = GradientSums((gradients**2).sum(1), gradients, float((gradients.sum(0) ** 2).sum()))
    (row,) = estimate_curve([BinData(0.5, 0.5, sums, 101)], replicates=100, seed=0).bins
    assert row.trimmed == pytest.approx(trimmed_snr(gram_of(gradients), confidence=0.95).snr_squared)
    assert row.trimmed_low < row.trimmed < row.trimmed_high and row.unit_norm_low < row.unit_norm < row.unit_norm_high  # type: ignore[operator]
    assert row.largest_share == pytest.approx(largest_share((gradients**2).sum(1))) and row.others_problem == ""
    assert row.log_norm_sd == pytest.approx(np.log(np.linalg.norm(gradients, axis=1)).std())


def test_what_has_no_such_estimate_says_why() -> None:
    gradients = np.outer([1.0, 2.0, 3.0, 4.0], np.ones(5))  # norms differ, directions do not
    sums = GradientSums((gradients**2).sum(1), gradients, float((gradients.sum(0) ** 2).sum()))
    (row,) = estimate_curve([BinData(0.5, 0.5, sums, 4)], replicates=100, seed=0).bins
    assert row.unit_norm is None and row.unit_norm_low is None and row.trimmed is not None
    assert row.others_problem.startswith("unit_norm: the gradients do not differ")
