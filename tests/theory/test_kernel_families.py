"""MaxRL's and focal loss's kernels, and kernels made of any function, against exact arithmetic, mpmath and the kernels they copy."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from paced_theory.kernel import FunctionKernel, Kernel
from paced_theory.kernels import BetaKernel, Focal, MaxRL

common = settings(deadline=None, max_examples=60)
costly = settings(deadline=None, max_examples=15)
rates = st.floats(0, 1)
priors = st.tuples(st.floats(0.1, 30), st.floats(0.1, 30))


# ---- the rivals by power


@common
@given(st.integers(1, 64), st.floats(1e-300, 1), priors)
def test_maxrl_is_its_formula_in_exact_arithmetic_and_its_mean_mpmath_s(order, p, prior):
    with mpmath.workdps(340):
        exact = (1 - (1 - mpmath.mpf(p)) ** order) / mpmath.mpf(p)
    assert math.isclose(MaxRL(order)(p), exact, rel_tol=1e-13) and MaxRL(order)(0.0) == order and MaxRL(order)(1.0) == 1
    a, b = map(mpmath.mpf, prior)
    mean = mpmath.fsum(mpmath.beta(a, b + j) / mpmath.beta(a, b) for j in range(order))
    assert math.isclose(MaxRL(order).integral(prior), mean, rel_tol=1e-12)


def test_maxrl_ends_in_the_log_likelihood_and_starts_in_the_pass_rate():
    assert MaxRL(1)([0.0, 0.3, 1.0]) == pytest.approx([1, 1, 1], rel=1e-15) and MaxRL(1).mode() == 0.5
    assert MaxRL(2)([0.0, 0.25, 1.0]) == pytest.approx([2.0, 1.75, 1.0]) and MaxRL(2).mode() == 0.0
    assert MaxRL(5000)(0.1) == pytest.approx(10.0, rel=1e-12)
    assert MaxRL(8).derivative([0.0, 1.0]).tolist() == [-28.0, -1.0]


@common
@given(st.floats(0, 20), rates, priors)
def test_focal_is_the_failure_rate_s_power(gamma, p, prior):
    kernel = Focal(gamma)
    assert kernel(p) == BetaKernel(0, gamma)(p) and kernel.integral(prior) == BetaKernel(0, gamma).integral(prior)
    assert kernel.powers == ((1.0, 0.0, gamma),) and kernel.mode() == (0.0 if gamma else 0.5)
    assert kernel != Focal(gamma + 1) and kernel == Focal(gamma)


# ---- any function


@costly
@given(st.floats(0.5, 4), st.floats(0.5, 4), rates, st.tuples(st.floats(0.5, 30), st.floats(0.5, 30)))
def test_a_function_that_copies_a_kernel_is_that_kernel(alpha, beta, p, prior):
    copy, kernel = FunctionKernel(lambda x: x**alpha * (1 - x) ** beta), BetaKernel(alpha, beta)
    assert copy(p) == pytest.approx(kernel(p), rel=1e-14)
    assert copy.integral(prior) == pytest.approx(kernel.integral(prior), rel=1e-9)


@costly
@given(st.floats(1e-9, 1 - 1e-9), st.sampled_from([(1.0, 1.0), (0.02, 0.5), (7.0, 0.3), (3.0, 8.0), (2e5, 5e5), (1.0, 1e5)]))
def test_a_jump_is_found_unnamed(edge, prior):
    kernel, law = FunctionKernel(lambda p: 1.0 if p >= edge else 0.25), stats.beta(*prior)
    assert kernel.breakpoints == (pytest.approx(edge, rel=1e-15),)
    assert kernel.integral(prior) == pytest.approx(0.25 * law.cdf(edge) + law.sf(edge), rel=1e-9)


@pytest.mark.parametrize("kink", [0.3333, 0.612345, 1e-3])
def test_a_kink_need_not_be_named(kink):
    named, unnamed = (FunctionKernel(lambda p: abs(p - kink), points) for points in ((kink,), ()))
    assert unnamed.breakpoints == () and unnamed.integral((3, 8)) == pytest.approx(named.integral((3, 8)), rel=1e-9)
    assert named.integral() == pytest.approx((kink**2 + (1 - kink) ** 2) / 2, rel=1e-12)


def test_rounding_and_steep_ends_are_no_jumps():
    assert FunctionKernel(lambda p: 1 + 1e-14 * math.sin(1e9 * p)).breakpoints == ()
    assert FunctionKernel(lambda p: p**0.01).breakpoints == () and FunctionKernel(lambda p: (1 - p) ** 0.01).breakpoints == ()
    assert FunctionKernel(lambda p: round(p, 1)).breakpoints == pytest.approx(np.arange(0.05, 1, 0.1), rel=1e-12)


def test_a_function_that_no_quadrature_can_follow_is_refused():
    with pytest.raises(
        ValueError, match=r"^function must be smooth between its breakpoints, got a mean from .* by three rules; name the pass rates"
    ):
        FunctionKernel(lambda p: 1 + math.sin(1e5 * p)).integral()


class Comb(Kernel):
    """Two equal peaks and a smaller one: what a subclass with `_value` alone gets from the base."""

    def _value(self, p):
        return np.exp(-(((p - 0.2) / 0.05) ** 2)) + np.exp(-(((p - 0.8) / 0.05) ** 2)) + 0.1


def test_what_a_kernel_of_values_alone_gets():
    kernel = Comb()
    assert kernel.name == "Comb" and kernel.mode() in (pytest.approx(0.2, abs=1e-6), pytest.approx(0.8, abs=1e-6))
    assert kernel.log(0.3) == math.log(kernel(0.3)) and kernel.derivative(0.2) == pytest.approx(0, abs=1e-6)
    assert kernel.integral() == pytest.approx(0.1 + 2 * 0.05 * math.sqrt(math.pi) * math.erf(4), rel=1e-8)
    assert FunctionKernel(lambda p: 1.0 if 0.25 <= p <= 0.75 else 0.5).mode() == 0.5  # the middle of a plateau
    assert FunctionKernel(lambda p: (p - 0.123456789) ** 2 + 1).mode() == 1.0
    assert FunctionKernel(lambda p: 1 - (p - 0.123456789) ** 2).mode() == pytest.approx(0.123456789, abs=1e-8)
    tent = FunctionKernel(lambda p: min(p, 1 - p), (0.5,))
    assert tent.derivative([0.0, 0.2, 0.8, 1.0]) == pytest.approx([1, 1, -1, -1]) and math.isnan(tent.derivative(0.5))
