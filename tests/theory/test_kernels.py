"""Kernels against mpmath, scipy.stats, finite differences and algebraic properties."""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from paced_theory._quadrature import expectation
from paced_theory.estimation import posterior_weight, unbiased_weight
from paced_theory.kernel import FunctionKernel
from paced_theory.kernels import (
    BernoulliEntropy,
    BetaKernel,
    Focal,
    GaussianBump,
    HardFilter,
    Linear,
    MaxRL,
    PosteriorKernel,
    SqrtVariance,
    Uniform,
)

common = settings(deadline=None, max_examples=60)
costly = settings(deadline=None, max_examples=15)
exponents = st.floats(0, 50)
rates = st.floats(0, 1)
priors = st.tuples(st.floats(0.1, 30), st.floats(0.1, 30))

KERNELS = [
    BetaKernel(),
    BetaKernel(0.3, 2.5),
    Uniform(),
    SqrtVariance(),
    Linear(),
    Linear(0.2, 1.5),
    HardFilter(),
    HardFilter(0.0, 0.4),
    GaussianBump(),
    GaussianBump(0.3, 0.05),
    BernoulliEntropy(),
    PosteriorKernel(5),
    PosteriorKernel(4, 2.0, 0.5, (0.5, 3.0)),
    Focal(),
    Focal(0.7),
    MaxRL(),
    MaxRL(1),
    FunctionKernel(lambda p: min(p, 1 - p), (0.5,), "tent"),
    FunctionKernel(lambda p: 1 + math.sin(math.pi * p), label="sine"),
]
kernels = st.sampled_from(KERNELS)
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)


@common
@given(exponents, exponents, rates)
def test_beta_kernel_agrees_with_mpmath(alpha, beta, p):
    exact = mpmath.mpf(p) ** alpha * (1 - mpmath.mpf(p)) ** beta
    assert math.isclose(BetaKernel(alpha, beta)(p), exact, rel_tol=1e-12, abs_tol=1e-300)


@common
@given(exponents, exponents, st.floats(2**-30, 1 - 2**-30))
def test_symmetry_under_swapping_pass_and_fail(alpha, beta, p):
    p = round(p * 2**30) / 2**30  # so that 1 - p is exact
    assert math.isclose(BetaKernel(alpha, beta)(p), BetaKernel(beta, alpha)(1 - p), rel_tol=1e-12)


@common
@given(st.floats(0.01, 50), st.floats(0.01, 50), priors, st.floats(0, 5), st.floats(0, 5))
def test_beta_moments_agree_with_mpmath(alpha, beta, prior, i, j):
    a, b = map(mpmath.mpf, prior)
    exact = mpmath.beta(a + alpha + i, b + beta + j) / mpmath.beta(a, b)
    assert math.isclose(BetaKernel(alpha, beta).moment(i, j, prior), exact, rel_tol=1e-12)
    assert BetaKernel(alpha, beta).moment(prior=prior) == BetaKernel(alpha, beta).integral(prior)


@each_kernel
@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.4, 0.7), (5.0, 2.0)])
def test_integrals_agree_with_quadpack(kernel, prior):
    def mean(power_p, power_q):
        """E[p^i (1-p)^j w(p)] piece by piece, the density's end-point powers as QUADPACK's algebraic weights."""
        (a, b), cuts = prior, sorted({0.0, 0.5, 1.0, *kernel.breakpoints})
        total = 0.0
        for lo, hi in pairwise(cuts):
            left, right = a - 1 if lo == 0 else 0.0, b - 1 if hi == 1 else 0.0

            def rest(x, left=left, right=right):
                return kernel(x) * x ** (power_p + (0 if left else a - 1)) * (1 - x) ** (power_q + (0 if right else b - 1))

            total += integrate.quad(rest, lo, hi, weight="alg", wvar=(left, right), epsabs=0, epsrel=1e-11, limit=400)[0]
        return total / special.beta(a, b)

    assert math.isclose(kernel.integral(prior), mean(0, 0), rel_tol=1e-8)
    assert math.isclose(kernel.moment(2, 1, prior), mean(2, 1), rel_tol=1e-8)


@each_kernel
@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.03, 0.5), (0.5, 0.02), (40.0, 7.0), (2000.0, 3000.0)])
def test_closed_form_integrals_agree_with_the_package_quadrature(kernel, prior):
    # A law with much of its mass within 1e-16 of p = 1 shows the rounding of 1 - p in the kernel's value.
    tolerance = 1e-9 if prior[1] > 0.1 else 1e-8
    assert math.isclose(kernel.integral(prior), expectation(kernel._value, prior, kernel.breakpoints), rel_tol=tolerance)


@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.01, 0.02), (0.02, 7.0), (300.0, 2.0)])
def test_quadrature_of_a_constant_and_of_p_is_exact(prior):
    assert math.isclose(expectation(np.ones_like, prior), 1.0, rel_tol=1e-11)
    assert math.isclose(expectation(lambda p: p, prior), prior[0] / sum(prior), rel_tol=1e-11)


@common
@given(kernels, st.floats(0.001, 0.999))
def test_derivative_agrees_with_central_differences(kernel, p):
    assume(all(abs(p - edge) > 1e-4 for edge in kernel.breakpoints) or not isinstance(kernel, HardFilter | FunctionKernel))
    step = 1e-6 * min(p, 1 - p)
    numeric = (kernel(p + step) - kernel(p - step)) / (2 * step)
    scale = abs(kernel(p)) / min(p, 1 - p)
    assert abs(kernel.derivative(p) - numeric) <= 1e-6 * (abs(numeric) + scale + 1)


@common
@given(st.floats(1e-3, 1 - 1e-3), exponents, exponents)
def test_beta_derivative_is_w_times_the_log_derivative(p, alpha, beta):
    kernel = BetaKernel(alpha, beta)
    assert math.isclose(kernel.derivative(p), kernel(p) * (alpha / p - beta / (1 - p)), rel_tol=1e-9, abs_tol=1e-12 * kernel(p))


def test_boundary_values_and_derivatives_have_no_nan():
    ends = [0.0, 1.0]
    assert BetaKernel(2, 3)(ends).tolist() == [0.0, 0.0]
    assert BetaKernel(0, 0)(ends).tolist() == [1.0, 1.0]
    assert BetaKernel(0, 2).log(ends).tolist() == [0.0, -math.inf]
    assert BetaKernel(2, 0).log(ends).tolist() == [-math.inf, 0.0]
    assert BetaKernel(0.5, 1).derivative(ends).tolist() == [math.inf, -1.0]
    assert BetaKernel(1, 0.5).derivative(ends).tolist() == [1.0, -math.inf]
    assert BetaKernel(2, 2).derivative(ends).tolist() == [0.0, 0.0]
    assert BetaKernel(1, 1).derivative(ends).tolist() == [1.0, -1.0]
    assert BetaKernel(0, 1).derivative(ends).tolist() == [-1.0, -1.0]
    assert Uniform().derivative(ends).tolist() == [0.0, 0.0]
    assert BernoulliEntropy()(ends).tolist() == [0.0, 0.0]
    assert math.copysign(1.0, BernoulliEntropy()(1.0)) == 1.0
    assert BernoulliEntropy().log(ends).tolist() == [-math.inf, -math.inf]
    assert BernoulliEntropy().derivative(ends).tolist() == [math.inf, -math.inf]
    assert Linear().log(ends).tolist() == [0.0, -math.inf]
    assert Linear(1, 3).derivative(ends).tolist() == [2.0, 2.0]


def test_log_survives_underflow():
    kernel = BetaKernel(50, 50)
    assert kernel(1e-10) == 0.0 or kernel(1e-10) > 0  # may underflow
    assert math.isclose(kernel.log(1e-10), 50 * math.log(1e-10) + 50 * math.log1p(-1e-10), rel_tol=1e-14)
    assert kernel.log(np.array([0.0, 1e-300])).tolist() == [-math.inf, pytest.approx(50 * math.log(1e-300), rel=1e-14)]


@common
@given(kernels, rates)
def test_log_is_the_logarithm_of_the_value(kernel, p):
    value = kernel(p)
    assert value >= 0
    if value > 1e-290:
        assert math.isclose(kernel.log(p), math.log(value), rel_tol=1e-12, abs_tol=1e-12)
    elif value == 0 and not isinstance(kernel, BetaKernel | GaussianBump):
        assert kernel.log(p) == -math.inf


@common
@given(kernels, rates)
def test_no_weight_exceeds_the_one_at_the_mode(kernel, p):
    assert kernel(p) <= kernel(kernel.mode()) * (1 + 1e-12)


def test_modes():
    assert BetaKernel(2, 6).mode() == BetaKernel(0.2, 0.6).mode() == 0.25
    assert PosteriorKernel(2).mode() == pytest.approx(0.5, abs=1e-9)
    assert 0.5 < PosteriorKernel(2, 1.0, 1.0, (1.0, 1.5)).mode() < 1.0
    assert Uniform().mode() == BetaKernel(0, 0).mode() == 0.5
    assert BetaKernel(3, 0).mode() == 1.0 and BetaKernel(0, 3).mode() == 0.0
    assert Linear().mode() == 0.0 and Linear(0, 1).mode() == 1.0 and Linear(2, 2).mode() == 0.5
    assert HardFilter(0.1, 0.5).mode() == 0.3
    assert GaussianBump(0.3).mode() == 0.3
    assert PosteriorKernel(1).mode() == 0.5  # w_0 = w_1: constant
    assert PosteriorKernel(3, 6.0, 0.0).mode() == 1.0 and PosteriorKernel(3, 0.0, 6.0).mode() == 0.0
    assert math.isclose(PosteriorKernel(10).mode(), 0.5, abs_tol=1e-9)


def test_posterior_kernel_mode_is_found_off_centre():
    kernel = PosteriorKernel(12, 2.0, 1.0, (0.7, 1.3))
    grid = np.linspace(0, 1, 100_001)
    assert abs(kernel.mode() - grid[np.argmax(kernel(grid))]) <= 1e-5


@common
@given(kernels, st.sampled_from([(1.0, 1.0), (2.0, 5.0), (0.5, 0.5)]))
def test_efficiency_is_one_at_the_optimum_and_scale_invariant(kernel, prior):
    assert math.isclose(kernel.efficiency(kernel, prior), 1.0, rel_tol=1e-9)
    scaled = kernel.normalised("peak")
    assert math.isclose(scaled.efficiency(BetaKernel(), prior), kernel.efficiency(BetaKernel(), prior), rel_tol=1e-9)


@common
@given(kernels, kernels, st.sampled_from([(1.0, 1.0), (3.0, 0.7)]))
def test_efficiency_is_a_symmetric_squared_cosine(one, two, prior):
    value = one.efficiency(two, prior)
    assert 0 <= value <= 1 + 1e-12
    assert math.isclose(value, two.efficiency(one, prior), rel_tol=1e-8)


@common
@given(st.floats(0, 6), st.floats(0, 6))
def test_efficiency_below_one_away_from_the_optimum(alpha, beta):
    assume(abs(alpha - 1) + abs(beta - 1) > 0.05)
    assert BetaKernel(alpha, beta).efficiency(BetaKernel()) < 1 - 1e-6


def test_efficiencies_against_the_default_kernel():
    best = BetaKernel()
    assert math.isclose(Uniform().efficiency(best), 5 / 6, rel_tol=1e-13)
    assert math.isclose(HardFilter().efficiency(best), 0.8712, rel_tol=1e-12)
    assert math.isclose(SqrtVariance().efficiency(best), 405 * math.pi**2 / 4096, rel_tol=1e-13)
    assert math.isclose(HardFilter(0.5 - math.sqrt(0.15), 0.5 + math.sqrt(0.15)).efficiency(best), 2.4 * math.sqrt(0.15), rel_tol=1e-12)


def test_inner_product_of_two_filters_is_the_overlap():
    assert math.isclose(HardFilter(0.1, 0.6).inner_product(HardFilter(0.4, 0.9)), 0.2, rel_tol=1e-10)
    prior = (2.0, 3.0)
    law = stats.beta(*prior)
    found = HardFilter(0.1, 0.6).inner_product(HardFilter(0.4, 0.9), prior)
    assert math.isclose(found, law.cdf(0.6) - law.cdf(0.4), rel_tol=1e-9)


@pytest.mark.parametrize("prior", [(1.0, 1.0), (2.0, 30.0), (30.0, 2.0), (1.0, 200.0)])
def test_filter_integral_keeps_precision_in_the_tails(prior):
    for lo, hi in ((0.9, 0.95), (0.2, 0.8)):
        with mpmath.workdps(250):  # a difference of two numbers near 1
            exact = mpmath.betainc(*prior, 0, mpmath.mpf(hi), regularized=True) - mpmath.betainc(
                *prior, 0, mpmath.mpf(lo), regularized=True
            )
        assert math.isclose(HardFilter(lo, hi).integral(prior), exact, rel_tol=1e-9)


def test_filter_edges_are_inside_and_its_derivative_is_undefined_there():
    kernel = HardFilter(0.2, 0.8)
    assert kernel([0.2, 0.8, 0.2 - 1e-12, 0.8 + 1e-12]).tolist() == [1, 1, 0, 0]
    assert np.isnan(kernel.derivative([0.2, 0.8])).all() and kernel.derivative([0.1, 0.5]).tolist() == [0, 0]
    assert HardFilter(0.0, 1.0).derivative([0.0, 1.0]).tolist() == [0, 0]
    assert HardFilter(0.0, 0.5).breakpoints == (0.5,) and kernel.breakpoints == (0.2, 0.8)


def test_matched_gaussian_has_the_second_moment_of_the_default_kernel():
    for center in (0.5, 0.2, 0.9):
        bump = GaussianBump(center)
        second = bump.moment(2) - 2 * center * bump.moment(1) + center**2 * bump.integral()
        target = stats.beta(2, 2).var() + (0.5 - center) ** 2
        assert math.isclose(second / bump.integral(), target, rel_tol=1e-10)
    assert GaussianBump().width == pytest.approx(0.2582535, abs=1e-7)
    assert GaussianBump(0.5, 0.1).width == 0.1


def test_narrow_gaussian_is_not_missed_by_the_quadrature():
    for sigma in (1e-1, 1e-2, 1e-4, 1e-6):
        assert math.isclose(GaussianBump(0.37, sigma).integral(), sigma * math.sqrt(2 * math.pi), rel_tol=2e-3 if sigma > 0.05 else 1e-9)


@each_kernel
def test_normalisations(kernel):
    rate = np.array([[0.21, 0.4], [0.25, 0.37]])
    peak = kernel.normalised("peak")
    assert math.isclose(peak(kernel.mode()), 1.0, rel_tol=1e-12)
    mean, total = kernel.normalised("mean", rate), kernel.normalised("sum", rate)
    assert math.isclose(mean(rate).mean(), 1.0, rel_tol=1e-12) and math.isclose(total(rate).sum(), 1.0, rel_tol=1e-12)
    law = (2.0, 1.5)
    by_law = kernel.normalised("mean", prior=law)
    assert math.isclose(by_law.integral(law), 1.0, rel_tol=1e-9)
    assert by_law.name == kernel.name and by_law.mode() == kernel.mode() and by_law.breakpoints == kernel.breakpoints
    ratio = kernel(rate) / total(rate)
    assert np.allclose(ratio, ratio[0, 0], rtol=1e-12)
    assert np.allclose(mean.derivative(0.3), kernel.derivative(0.3) * mean(0.3) / kernel(0.3), rtol=1e-10, equal_nan=True)
    assert math.isclose(mean.log(0.3), math.log(mean(0.3)), rel_tol=1e-12, abs_tol=1e-13)


def test_normalising_survives_weights_that_underflow():
    kernel = BetaKernel(5000, 5000)
    assert kernel(0.5) == 0.0 and kernel.normalised("peak")(0.5) == 1.0
    assert math.isclose(kernel.normalised("mean", [0.5, 0.5])(0.5), 1.0, rel_tol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("max",), "^how must be one of 'peak', 'mean', 'sum', got 'max'"),
        (("peak", [0.5]), "^pass_rates and prior must be left out for how='peak'"),
        (("peak", None, (1, 1)), "^pass_rates and prior must be left out for how='peak'"),
        (("mean",), "^how='mean' needs pass_rates or prior, not both"),
        (("mean", [0.5], (1, 1)), "^how='mean' needs pass_rates or prior, not both"),
        (("sum",), "^how='sum' needs pass_rates, not prior"),
        (("sum", None, (1, 1)), "^how='sum' needs pass_rates, not prior"),
        (("sum", []), "^pass_rates must have at least 1 entry, got none"),
        (("sum", [0.0, 1.0]), "^pass_rates must give .* at least one positive weight, got only zeros"),
        (("mean", [1.2]), "^pass_rates must be pass rates"),
        (("mean", None, (1.0, 1e5)), "^pass_rates must give hard filter .* at least one positive weight, got only zeros"),
        (("mean", None, (0, 1)), "^prior must be a pair"),
    ],
)
def test_normalisation_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        (HardFilter(0.9, 1.0) if (1.0, 1e5) in arguments else BetaKernel()).normalised(*arguments)


def test_posterior_kernel_is_the_mean_posterior_weight():
    kernel = PosteriorKernel(6, 1.5, 0.5, (2.0, 0.7))
    weights = posterior_weight(np.arange(7), 6, 1.5, 0.5, (2.0, 0.7))
    for p in (0.0, 0.2, 0.77, 1.0):
        assert math.isclose(kernel(p), stats.binom(6, p).pmf(np.arange(7)) @ weights, rel_tol=1e-12)
    assert kernel.name == "posterior K=6"


@common
@given(st.integers(1, 40), st.floats(0.1, 5), st.floats(0.1, 5), priors)
def test_posterior_kernel_mean_is_the_prior_mean_of_the_weight(K, alpha, beta, prior):
    # The tower rule: averaging the posterior mean over k gives back E[w(p)].
    mean = PosteriorKernel(K, alpha, beta, prior).integral(prior)
    assert math.isclose(mean, BetaKernel(alpha, beta).integral(prior), rel_tol=1e-9)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BetaKernel(-1, 1), "^alpha must be a finite number >= 0, got -1"),
        (lambda: BetaKernel(1, float("nan")), "^beta must be a finite number >= 0, got nan"),
        (lambda: Linear(-1, 1), "^at_zero must be a finite number >= 0, got -1"),
        (lambda: Linear(1, -1), "^at_one must be a finite number >= 0, got -1"),
        (lambda: Linear(0, 0), "^at_zero and at_one must not both be 0"),
        (lambda: HardFilter(0.8, 0.2), "^lo must be smaller than hi, got lo=0.8 and hi=0.2"),
        (lambda: HardFilter(0.5, 0.5), "^lo must be smaller than hi"),
        (lambda: HardFilter(-0.1, 0.5), "^lo must be pass rates in"),
        (lambda: HardFilter(0.1, 1.5), "^hi must be pass rates in"),
        (lambda: HardFilter(0.1, [0.5]), "^hi must be a finite real number"),
        (lambda: HardFilter(float("nan"), 0.5), "^lo must be a finite real number, got nan"),
        (lambda: GaussianBump(1.0), "^center must be a number strictly between 0 and 1, got 1.0"),
        (lambda: GaussianBump(0.5, 0.0), "^sigma must be a finite number > 0, got 0.0"),
        (lambda: Focal(-1.0), "^gamma must be a finite number >= 0, got -1.0"),
        (lambda: MaxRL(0), "^order must be an integer >= 1, got 0"),
        (lambda: MaxRL(2.0), "^order must be an integer >= 1, got 2.0"),
        (lambda: FunctionKernel(0.5), "^function must be a function of the pass rate, got 0.5"),
        (lambda: FunctionKernel(math.exp, (1.0,)), "^breakpoints must be a number strictly between 0 and 1, got 1.0"),
        (lambda: FunctionKernel(lambda p: 0.75 - p), "^function must return finite weights >= 0 .* got -0.000488281 at p = 0.750488"),
        (
            lambda: FunctionKernel(lambda p: math.inf if p == 0 else 1 / p, label="1/p"),
            "^function must return finite weights >= 0 .* got inf at p = 0 from 1/p",
        ),
        (lambda: BetaKernel().at_counts(3, 2), "^k must be integers between 0 and K, got 3"),
        (lambda: MaxRL().at_counts(1, 0), "^K must be integers >= 1"),
        (lambda: HardFilter().posterior_mean(3, 2), "^k must be integers between 0 and K, got 3"),
        (lambda: HardFilter().posterior_mean(1, 2, (0, 1)), "^prior must be a pair"),
        (lambda: PosteriorKernel(0), "^K must be an integer >= 1, got 0"),
        (lambda: PosteriorKernel(3, -1.0), "^alpha must be"),
        (lambda: PosteriorKernel(3, 1.0, -1.0), "^beta must be"),
        (lambda: PosteriorKernel(3, 1.0, 1.0, (0, 1)), "^assumed must be a pair"),
        (lambda: BetaKernel()(1.2), "^p must be pass rates in \\[0, 1\\], got 1.2"),
        (lambda: BetaKernel().log([0.1, -0.1]), "^p must be pass rates .* at index \\[1\\]"),
        (lambda: BetaKernel().derivative(float("nan")), "^p must be pass rates .* got nan"),
        (lambda: BetaKernel().moment(-1), "^order_p must be a finite number >= 0, got -1"),
        (lambda: BetaKernel().moment(0, -1), "^order_q must be a finite number >= 0, got -1"),
        (lambda: BetaKernel().integral((1, 0)), "^prior must be a pair"),
        (lambda: BetaKernel().efficiency(BetaKernel(), (0, 1)), "^prior must be a pair"),
        (lambda: HardFilter(0.9999, 1.0).efficiency(BetaKernel(), (1.0, 500.0)), "^self must be positive on a set of positive probability"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@each_kernel
def test_shapes_and_scalars(kernel):
    assert isinstance(kernel(0.3), float) and isinstance(kernel.log(0.3), float) and isinstance(kernel.derivative(0.31), float)
    assert kernel(np.full((2, 3), 0.3)).shape == (2, 3) and kernel([]).shape == (0,)
    assert kernel(np.array([0, 1])).dtype == np.float64


def test_names():
    assert [kernel.name for kernel in KERNELS] == [
        "Beta(1, 1)",
        "Beta(0.3, 2.5)",
        "uniform",
        "sqrt(p(1-p))",
        "linear(1 to 0)",
        "linear(0.2 to 1.5)",
        "hard filter [0.2, 0.8]",
        "hard filter [0, 0.4]",
        "Gaussian(0.5, 0.2583)",
        "Gaussian(0.3, 0.05)",
        "Bernoulli entropy",
        "posterior K=5",
        "posterior K=4",
        "focal(2)",
        "focal(0.7)",
        "MaxRL(8)",
        "MaxRL(1)",
        "tent",
        "sine",
    ]
    assert FunctionKernel(math.sqrt).name == "sqrt"


# ---- from counts


@each_kernel
@pytest.mark.parametrize(
    ("k", "K", "prior"), [(0, 1, (1.0, 1.0)), (3, 8, (1.0, 1.0)), (8, 8, (0.35, 0.43)), (0, 8, (0.35, 0.43)), (30, 64, (2.0, 5.0))]
)
def test_posterior_means_agree_with_quadpack(kernel, k, K, prior):
    a, b = prior[0] + k, prior[1] + K - k
    total = 0.0
    for lo, hi in pairwise(sorted({0.0, 0.5, 1.0, *kernel.breakpoints})):
        left, right = min(a - 1, 0.0) if lo == 0 else 0.0, min(b - 1, 0.0) if hi == 1 else 0.0  # QUADPACK's algebraic weights

        def rest(x, left=left, right=right):
            return kernel(x) * x ** (a - 1 - left) * (1 - x) ** (b - 1 - right)

        total += integrate.quad(rest, lo, hi, weight="alg", wvar=(left, right), epsabs=0, epsrel=1e-10, limit=400)[0]
    assert math.isclose(kernel.posterior_mean(k, K, prior), total / special.beta(a, b), rel_tol=1e-8)


@each_kernel
def test_counts_broadcast_and_each_pair_has_its_own_weight(kernel):
    k, K = np.array([[0, 3], [2, 4], [3, 3]]), np.array([4, 8])
    for method in (kernel.at_counts, kernel.posterior_mean):
        found = method(k, K)
        assert found.shape == (3, 2) and isinstance(method(1, 3), float)
        alone = [[method(int(passes), int(n)) for passes, n in zip(row, K, strict=True)] for row in k]
        # Powers of several numbers at once and of one differ in the last bit on processors with AVX-512.
        np.testing.assert_allclose(found, alone, rtol=1e-14)
    assert kernel.at_counts(k, K) == pytest.approx(kernel(k / K), rel=1e-15)


def test_failure_rates_are_exact_in_the_beta_kernel_and_as_ever_in_grpo_s():
    k = np.arange(11)
    assert BetaKernel(0.5, 0.5).at_counts(k, 10).tolist() == ((k / 10) ** 0.5 * ((10 - k) / 10) ** 0.5).tolist()
    assert SqrtVariance().at_counts(k, 10).tolist() == ((k / 10) ** 0.5 * (1 - k / 10) ** 0.5).tolist()


@costly
@given(kernels, st.floats(0.05, 0.95))
def test_with_many_rollouts_the_posterior_mean_is_the_plug_in(kernel, p):
    assume(all(abs(p - edge) > 0.02 for edge in kernel.breakpoints))
    K = 10**6
    k = round(K * p)
    # Both are w(p) to order w''/K; the narrowest kernel here has a width of 0.05.
    assert math.isclose(kernel.posterior_mean(k, K), kernel.at_counts(k, K), rel_tol=1e-3, abs_tol=1e-4)


@common
@given(kernels, rates)
def test_a_kernel_of_powers_is_their_sum(kernel, p):
    if kernel.powers:
        total = sum(scale * p**i * (1 - p) ** j for scale, i, j in kernel.powers)
        assert math.isclose(kernel(p), total, rel_tol=1e-12, abs_tol=1e-300)
    else:
        assert isinstance(kernel, HardFilter | GaussianBump | BernoulliEntropy | PosteriorKernel | FunctionKernel)


@common
@given(st.integers(1, 12), st.integers(0, 5), rates)
def test_the_unbiased_weights_of_maxrl_s_powers_have_it_as_their_expectation(order, extra, p):
    K = max(1, order - 1) + extra
    k = np.arange(K + 1)
    weights = sum(scale * unbiased_weight(k, K, int(i), int(j)) for scale, i, j in MaxRL(order).powers)
    assert math.isclose(stats.binom(K, p).pmf(k) @ weights if p > 1e-300 else weights[0], MaxRL(order)(p), rel_tol=1e-11)
