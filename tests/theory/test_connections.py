"""The table of methods and its worst cases, against closed forms and adversaries found by search."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paced_theory.connections import connections_table, worst_case_against
from paced_theory.kernels import BernoulliEntropy, BetaKernel, GaussianBump, HardFilter, SqrtVariance, Uniform
from paced_theory.robustness import worst_case_efficiency

RIVALS = [Uniform(), HardFilter(), GaussianBump(), BernoulliEntropy(), SqrtVariance(), BetaKernel(2, 0.5)]
common = settings(deadline=None, max_examples=40)


@common
@given(st.floats(0, 2), st.floats(0, 4), st.floats(0, 4))
def test_kernel_against_itself_has_the_minimax_value(delta, alpha, beta):
    kernel = BetaKernel(alpha, beta)
    assert worst_case_against(kernel, kernel, delta, points=4000) == pytest.approx(float(worst_case_efficiency(delta)), abs=2e-3)


@pytest.mark.parametrize("kernel", RIVALS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.5, 2.0)])
def test_without_an_adversary_it_is_the_efficiency(kernel, prior):
    exact = kernel.efficiency(BetaKernel(), prior)
    assert worst_case_against(kernel, BetaKernel(), 0.0, prior) == pytest.approx(exact, abs=2e-4)


@pytest.mark.parametrize("kernel", RIVALS, ids=lambda kernel: kernel.name)
def test_worst_case_falls_with_delta_and_stays_above_the_sum_of_angles(kernel):
    values = [worst_case_against(kernel, BetaKernel(), delta, points=4000) for delta in (0.0, 0.1, 0.3, 0.6)]
    assert values == sorted(values, reverse=True) and values[-1] > 0
    angle = math.acos(math.sqrt(values[0]))
    for delta, value in zip((0.0, 0.1, 0.3, 0.6), values, strict=True):
        assert value >= math.cos(angle + math.acos(1 / math.cosh(delta))) ** 2 - 1e-9
        assert value <= math.cos(angle) ** 2 + 1e-12 and value <= worst_case_efficiency(delta) + 1e-3


@pytest.mark.parametrize("kernel", RIVALS, ids=lambda kernel: kernel.name)
def test_no_adversary_does_worse(kernel):
    """Every choice of eps = +-delta on 12 levels enumerated, and eps between the bounds tried at random."""
    p, delta = (np.arange(12) + 0.5) / 12, 0.4
    used, best = kernel(p), p * (1 - p)
    signs = (np.arange(2**12)[:, None] >> np.arange(12)) & 1
    choices = np.concatenate([delta * (2 * signs - 1), np.random.default_rng(0).uniform(-delta, delta, (2000, 12))])
    optimum = best * np.exp(choices)
    efficiency = (optimum @ used) ** 2 / (np.sum(optimum**2, axis=1) * (used @ used))
    assert worst_case_against(kernel, BetaKernel(), delta, points=12) == pytest.approx(efficiency.min(), rel=1e-12)
    assert np.argmin(efficiency) < 2**12


def test_worst_case_where_the_kernel_vanishes_and_the_optimum_too():
    """0/0 in the ratio at p = 1 (rounded from a law crowded there) must neither warn nor matter."""
    value = worst_case_against(BetaKernel(), BetaKernel(), 0.3, (5.0, 0.01), points=400)
    assert 0.9 < value <= 1


def test_table():
    rows = connections_table()
    by_method = {row.method: row for row in rows}
    assert rows[0].method == "PACED, Dr. GRPO" and rows[0].efficiency == 1.0
    assert rows[0].worst_case == pytest.approx(0.9151369618, abs=1e-5)
    assert by_method["GRPO"].efficiency == pytest.approx(405 * math.pi**2 / 4096, rel=1e-12)
    assert by_method["hard filter"].efficiency == pytest.approx(0.8712, rel=1e-10)
    assert by_method["no weighting"].efficiency == pytest.approx(5 / 6, rel=1e-12)
    assert by_method["posterior, K = 8, on average"].efficiency > 0.95
    assert all(0 < row.worst_case < row.efficiency <= 1 and row.implied_snr_squared for row in rows)
    assert [row.kernel.name for row in rows] == [
        "Beta(1, 1)",
        "sqrt(p(1-p))",
        "Bernoulli entropy",
        "Gaussian(0.5, 0.2583)",
        "posterior K=8",
        "hard filter [0.2, 0.8]",
        "uniform",
    ]
    assert [(row.method, row.implied_snr_squared) for row in rows] == [
        ("PACED, Dr. GRPO", "p(1-p)"),
        ("GRPO", "sqrt(p(1-p))"),
        ("entropy", "H(p)"),
        ("Gaussian bump", "exp(-(p-1/2)^2 / (2 sigma^2))"),
        ("posterior, K = 8, on average", "a polynomial of degree 8, positive at 0 and 1"),
        ("hard filter", "constant on [0.2, 0.8], 0 elsewhere"),
        ("no weighting", "constant"),
    ]


def test_table_depends_on_delta_and_law():
    easy = connections_table(0.1, (2.0, 2.0))
    assert all(row.worst_case > 0.75 for row in easy)
    assert easy[0].worst_case == pytest.approx(float(worst_case_efficiency(0.1)), abs=1e-4)
    skewed = connections_table(0.2, (0.5, 2.0))[1]
    assert skewed.worst_case == worst_case_against(skewed.kernel, BetaKernel(), 0.2, (0.5, 2.0))
    assert easy[1].efficiency == pytest.approx(SqrtVariance().efficiency(BetaKernel(), (2.0, 2.0)), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: worst_case_against(Uniform(), BetaKernel(), -0.1), "^delta must be a finite number >= 0, got -0.1"),
        (lambda: worst_case_against(Uniform(), BetaKernel(), 0.1, (0, 1)), "^prior must be a pair"),
        (lambda: worst_case_against(Uniform(), BetaKernel(), 0.1, points=1), "^points must be an integer >= 2, got 1"),
        (lambda: worst_case_against(HardFilter(0.9, 1.0), BetaKernel(), 0.1, (1.0, 90.0), points=9), "^kernel must be positive on a set"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
