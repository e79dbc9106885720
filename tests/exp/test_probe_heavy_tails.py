"""Trimmed and unit-norm SNR^2 and the tails of the norms stand in every row; what cannot be had is said."""

import numpy as np
import pytest

from paced_exp.gradients.engine import GradientSums
from paced_exp.probe.curve import BinData, BinEstimate, estimate_curve
from paced_exp.probe.heavy_tails import largest_share
from paced_theory.snr import estimate_snr


def heavy(n: int = 101, m: int = 30) -> np.ndarray:
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(n, m)) + 0.3
    gradients[[5, 50, 77]] *= 40.0
    return gradients


def row_of(gradients: np.ndarray) -> BinEstimate:
    sums = GradientSums((gradients**2).sum(1), gradients, float((gradients.sum(0) ** 2).sum()))
    (row,) = estimate_curve([BinData(0.5, 0.5, sums, len(gradients))], replicates=100, seed=0).bins
    return row


def test_a_row_has_the_estimate_of_what_remains_without_the_largest_and_that_of_directions() -> None:
    gradients = heavy()
    norms = np.linalg.norm(gradients, axis=1)
    row, remaining = row_of(gradients), gradients[np.sort(np.argsort(norms)[:-2])]
    assert row.trimmed == pytest.approx(estimate_snr(remaining).snr_squared)
    assert row.unit_norm == pytest.approx(estimate_snr(gradients / norms[:, None]).snr_squared)
    for name in ("trimmed", "unit_norm"):
        assert getattr(row, f"{name}_low") < getattr(row, name) < getattr(row, f"{name}_high")
    assert row.largest_share == pytest.approx(1 - (remaining**2).sum() / (norms**2).sum()) and row.others_problem == ""
    assert row.log_norm_sd == pytest.approx(np.log(norms).std())


@pytest.mark.parametrize(("share", "left"), [(0.01, 2), (0.03, 4), (0.5, 51), (1.0, 101)])
def test_the_largest_share(share: float, left: int) -> None:
    norms = (heavy() ** 2).sum(1)
    assert largest_share(norms, share) == pytest.approx(sum(sorted(norms)[-left:]) / sum(norms))


def test_few_gradients_that_carry_the_noise_take_away_trust_from_the_interval_of_all() -> None:
    row, even = row_of(heavy()), row_of(heavy() / np.linalg.norm(heavy(), axis=1, keepdims=True))
    assert row.effective_n < 10 < even.effective_n
    assert (row.snr_squared_covers, even.snr_squared_covers) == (False, True) and row.unit_norm_covers
    norms = (heavy() ** 2).sum(1)
    assert row.effective_n == pytest.approx(norms.sum() ** 2 / (norms**2).sum())


def test_a_gradient_of_norm_zero_has_no_direction() -> None:
    gradients = heavy()
    with_zeros = row_of(np.vstack([gradients, np.zeros((2, 30))]))
    assert with_zeros.unit_norm == pytest.approx(row_of(gradients).unit_norm) and with_zeros.others_problem == ""


def test_what_has_no_such_estimate_says_why() -> None:
    row = row_of(np.outer([1.0, 2.0, 3.0, 4.0], np.ones(5)))  # norms differ, directions do not
    assert row.unit_norm is None and row.unit_norm_low is None and row.trimmed is not None
    assert row.others_problem.startswith("unit_norm: the gradients do not differ")
