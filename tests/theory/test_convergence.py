"""The variance ratio against quadrature and rational arithmetic, the SGD bound against exact recursions and simulation."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize

from paced_theory import convergence as conv

common = settings(deadline=None, max_examples=60)
exponents = st.floats(0, 20)
priors = st.tuples(st.floats(0.2, 10), st.floats(0.2, 10))


def test_the_papers_three_points():
    assert conv.variance_ratio(0.25) == pytest.approx(0.84375, abs=1e-13)
    assert conv.variance_ratio((math.sqrt(61) - 1) / 20) == pytest.approx(1.0, abs=1e-13)
    assert conv.variance_ratio(0.5) == pytest.approx(1.2, abs=1e-13)
    assert conv.breakeven_signal_exponent() == pytest.approx((math.sqrt(61) - 1) / 20, abs=1e-12)
    assert conv.breakeven_signal_exponent() == pytest.approx(0.340512, abs=5e-7)


@common
@given(st.floats(0.01, 50))
def test_default_kernel_has_a_rational_ratio(a):
    assert conv.variance_ratio(a) == pytest.approx(18 * a * (2 * a + 1) / ((4 * a + 1) * (4 * a + 3)), rel=1e-11)


@pytest.mark.parametrize(("a_s", "alpha", "beta"), [(1, 2, 3), (Fraction(3, 2), 1, 4), (2, 0, 1)])
def test_integer_cases_are_exact_fractions(a_s, alpha, beta):
    gamma = int(2 * a_s - 1)

    def beta_function(x, y):
        return Fraction(math.factorial(x - 1) * math.factorial(y - 1), math.factorial(x + y - 1))

    weighted = beta_function(2 * alpha + gamma + 1, 2 * beta + gamma + 1)
    exact = weighted / (beta_function(alpha + 1, beta + 1) ** 2 * beta_function(gamma + 1, gamma + 1))
    assert conv.variance_ratio(float(a_s), alpha, beta) == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize("prior", [(1.0, 1.0), (2.0, 0.8), (0.7, 3.0)])
@pytest.mark.parametrize(("a_s", "alpha", "beta"), [(0.3, 1.5, 0.7), (0.8, 1.0, 1.0), (1.7, 0.0, 2.0)])
def test_ratio_agrees_with_quadrature(a_s, alpha, beta, prior):
    gamma = 2 * a_s - 1

    def mean(i, j):
        powers = prior[0] - 1 + i, prior[1] - 1 + j
        poles = min(powers[0], 0.0), min(powers[1], 0.0)
        return integrate.quad(
            lambda p: p ** (powers[0] - poles[0]) * (1 - p) ** (powers[1] - poles[1]),
            0,
            1,
            weight="alg",
            wvar=poles,
            epsabs=0,
            epsrel=1e-11,
        )[0]

    expected = mean(2 * alpha + gamma, 2 * beta + gamma) * mean(0, 0) ** 2 / (mean(alpha, beta) ** 2 * mean(gamma, gamma))
    assert conv.variance_ratio(a_s, alpha, beta, prior) == pytest.approx(expected, rel=1e-9)


@common
@given(st.floats(0.5, 20), exponents, exponents, priors)
def test_swapping_pass_and_fail_changes_nothing(a_s, alpha, beta, prior):
    mirrored = conv.variance_ratio(a_s, beta, alpha, prior[::-1])
    assert conv.variance_ratio(a_s, alpha, beta, prior) == pytest.approx(float(mirrored), rel=1e-9)


@common
@given(st.floats(0.45, 20), priors)
def test_no_weighting_leaves_the_noise_as_it_is(a_s, prior):
    assert conv.variance_ratio(a_s, 0.0, 0.0, prior) == pytest.approx(1.0, rel=1e-10)


@common
@given(st.floats(0.02, 20), st.floats(0.1, 5))
def test_ratio_increases_with_the_signal_exponent_for_symmetric_kernels(a_s, exponent):
    now, later = conv.variance_ratio([a_s, a_s * 1.1], exponent, exponent)
    assert now < later


def test_ratio_of_an_asymmetric_kernel_rises_and_falls():
    values = conv.variance_ratio([0.03, 1.0, 30.0], 5, 1)
    assert values[0] < 1 < values[1] and values[2] < 1
    lower = conv.breakeven_signal_exponent(5, 1)
    assert lower < 0.5 and conv.variance_ratio(lower, 5, 1) == pytest.approx(1.0, abs=1e-12)


def test_ratio_limits_and_shapes():
    assert conv.variance_ratio(1e6) == pytest.approx(9 / 4, rel=1e-4)
    assert conv.variance_ratio(1e-9) == pytest.approx(0.0, abs=1e-7)
    assert isinstance(conv.variance_ratio(0.5), float)
    assert conv.variance_ratio([[0.5, 1.0]]).shape == (1, 2)


@common
@given(st.floats(0.3, 3), st.floats(0.3, 3))
def test_breakeven_is_where_the_ratio_is_one(alpha, prior_a):
    prior = (prior_a, prior_a)
    root = conv.breakeven_signal_exponent(alpha, alpha, prior)
    assert conv.variance_ratio(root, alpha, alpha, prior) == pytest.approx(1.0, abs=1e-9)
    lowest = (1 - prior_a) / 2
    assert conv.variance_ratio(lowest + 0.9 * (root - lowest), alpha, alpha, prior) < 1


@pytest.mark.parametrize("kernel", [(0.0, 0.0), (5.0, 0.0), (0.0, 9.0)])
def test_kernels_without_a_breakeven(kernel):
    with pytest.raises(ValueError, match=r"under the prior \(1.0, 1.0\) have no break-even: R never rises through 1$"):
        conv.breakeven_signal_exponent(*kernel)


def test_ratio_of_bins_by_hand_and_in_the_limit():
    # E[w^2 n2] = (1 + 4*3)/2, E[w] = 1.5, E[n2] = 2.
    assert conv.variance_ratio_of([1, 2], [1, 3]) == pytest.approx(6.5 / (2.25 * 2))
    # Masses 3/4 and 1/4: (3 + 12)/4, mean weight 5/4, mean noise 3/2; only their proportions count.
    assert conv.variance_ratio_of([1, 2], [1, 3], [3, 1]) == pytest.approx(15 / 4 / (25 / 16 * 3 / 2))
    p = (np.arange(20_000) + 0.5) / 20_000
    assert conv.variance_ratio_of(p * (1 - p), p * (1 - p)) == pytest.approx(float(conv.variance_ratio(1.0)), rel=1e-6)


@common
@given(st.lists(st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)), min_size=1, max_size=8), st.floats(0.1, 10))
def test_ratio_of_bins_ignores_scales(pairs, scale):
    weight, noise = map(np.array, zip(*pairs, strict=True))
    base = conv.variance_ratio_of(weight, noise)
    assert conv.variance_ratio_of(scale * weight, noise) == pytest.approx(base, rel=1e-12)
    assert conv.variance_ratio_of(weight, scale * noise) == pytest.approx(base, rel=1e-12)
    assert conv.variance_ratio_of(weight, np.ones(len(pairs))) >= 1 - 1e-12  # Jensen: weights cost noise where it is equal


def test_bound_by_hand():
    assert conv.sgd_bound(3.0, 2.0, 0.5, 0.25, 10) == pytest.approx(2 * 3 / (0.25 * 10) + 2 * 0.25 * 0.5)
    assert conv.sgd_bound(3.0, 2.0, 0.5, 0.5, 10) > 0  # eta = 1/L is allowed
    with pytest.raises(ValueError, match=r"^step_size must be <= 1/smoothness = 0.5, got 0.6: the bound does not hold beyond$"):
        conv.sgd_bound(3.0, 2.0, 0.5, 0.6, 10)


@common
@given(st.floats(0.01, 5), st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0, 10))
def test_fewest_steps_minimise_the_bound(target, gap, smooth, noise):
    assume(noise == 0 or noise > 1e-6)
    closed = conv.steps_to_reach(target, gap, smooth, noise)

    def steps(log_eta):
        eta = math.exp(log_eta) / smooth
        left = target - smooth * eta * noise
        return 2 * gap / (eta * left) if left > 0 else 1e300

    # A grid bracket, because the objective is infinite for large steps.
    grid = np.linspace(-14, 0, 2001)
    best = min(map(steps, grid))
    assert closed <= best * (1 + 1e-9) and closed == pytest.approx(best, rel=1e-3)


def test_steps_are_proportional_to_noise_when_noise_dominates():
    base = conv.steps_to_reach(0.02, 1.0, 1.0, 1.0)
    assert conv.steps_to_reach(0.02, 1.0, 1.0, 0.84375) / base == pytest.approx(0.84375, rel=1e-12)
    assert conv.steps_to_reach(1.0, 1.0, 1.0, 0.5) == pytest.approx(4.0)  # both regimes meet at noise = target/2
    assert conv.steps_to_reach(1.0, 3.0, 2.0, 0.0) == pytest.approx(12.0)
    assert conv.steps_to_reach(1.0, 1.0, 1.0, 0.4) == pytest.approx(2 / 0.6)  # between a third and a half of the target


each_objective = pytest.mark.parametrize(
    "build", [lambda: conv.quadratic([1.0, 0.5, 0.1]), conv.saturating], ids=["quadratic", "saturating"]
)


@each_objective
def test_gradients_and_smoothness(build, request):
    objective = build()
    assert objective.name in request.node.name
    rng = np.random.default_rng(0)
    theta = rng.normal(scale=1.5, size=(200, 3))
    step = 1e-6
    numeric = np.stack([(objective.value(theta + step * e) - objective.value(theta - step * e)) / (2 * step) for e in np.eye(3)], axis=-1)
    assert np.allclose(objective.gradient(theta), numeric, atol=1e-8)
    assert objective.value(theta).shape == (200,) and objective.value(theta).min() >= 0 and objective.value(np.zeros(3)) == 0
    other = rng.normal(scale=1.5, size=(200, 3))
    stretch = np.linalg.norm(objective.gradient(theta) - objective.gradient(other), axis=1) / np.linalg.norm(theta - other, axis=1)
    assert stretch.max() <= objective.smoothness + 1e-12
    near = 1e-4 * np.eye(3)[0]
    assert np.linalg.norm(objective.gradient(near)) / 1e-4 == pytest.approx(objective.smoothness, rel=1e-3)  # L is attained


def test_objective_values_by_hand():
    theta = np.array([[2.0, 1.0], [0.5, 0.0]])
    assert conv.quadratic([3.0, 1.0]).value(theta) == pytest.approx([6.5, 0.375]) and conv.quadratic([3.0, 1.0]).smoothness == 3.0
    assert conv.saturating().value(theta) == pytest.approx([0.8 + 0.5, 0.2])


def test_saturating_objective_is_not_convex():
    f = conv.saturating().value
    assert f(np.array([2.0])) > 0.5 * (f(np.array([1.0])) + f(np.array([3.0])))


@each_objective
@pytest.mark.parametrize("weighted", [False, True])
def test_bound_holds_for_every_seed(build, weighted):
    objective = build()
    p = (np.arange(16) + 0.5) / 16
    shape = p * (1 - p)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        run = conv.simulate_sgd(objective, [2.0, 1.0, 0.5], shape if weighted else np.ones(16), shape**-0.5, 0.2, 200, 20, rng)
        assert run.mean_squared_gradient.shape == (20,)
        assert (run.mean_squared_gradient <= run.bound).all()
    gap = float(objective.value(np.array([2.0, 1.0, 0.5])))
    assert run.bound == pytest.approx(conv.sgd_bound(gap, objective.smoothness, run.noise_variance, 0.2, 200), rel=1e-12)


def test_noise_terms_stand_in_the_ratio_of_the_bins():
    p = (np.arange(32) + 0.5) / 32
    n2 = (p * (1 - p)) ** 0.3
    runs = [conv.simulate_sgd(conv.saturating(), [1.0], w, n2, 0.1, 1, 1, np.random.default_rng(0)) for w in (p * (1 - p), np.ones(32))]
    assert runs[0].noise_variance / runs[1].noise_variance == pytest.approx(conv.variance_ratio_of(p * (1 - p), n2), rel=1e-12)
    assert runs[1].noise_variance == pytest.approx(n2.mean() / 32, rel=1e-12)


@pytest.mark.parametrize("tail", [None, 6.0])
def test_steps_have_the_stated_noise_variance(tail):
    # At theta = 0 the gradient is zero, so after one step |theta|^2 = eta^2 |noise|^2: read off the second step's gradient.
    weight, n2 = np.array([1.0, 3.0]), np.array([2.0, 0.5])
    run = conv.simulate_sgd(conv.quadratic([1.0, 1.0]), [0.0, 0.0], weight, n2, 0.5, 2, 40_000, np.random.default_rng(1), tail=tail)
    assert 2 * run.mean_squared_gradient.mean() == pytest.approx(0.25 * run.noise_variance, rel=0.03)
    assert run.noise_variance == pytest.approx((0.5**2 * 2 + 1.5**2 * 0.5) / 4, rel=1e-12)


def test_heavy_tails_are_heavier():
    def fourth(tail):
        run = conv.simulate_sgd(conv.quadratic([1.0]), [0.0], [1.0], [1.0], 1.0, 2, 20_000, np.random.default_rng(1), tail=tail)
        squared = 2 * run.mean_squared_gradient
        return np.mean(squared**2) / np.mean(squared) ** 2

    assert fourth(None) == pytest.approx(3.0, abs=0.15) and fourth(5.0) > 4.5


def test_simulation_agrees_with_the_exact_mean():
    h, start = [1.0, 0.5, 0.1], [1.0, -2.0, 3.0]
    run = conv.simulate_sgd(conv.quadratic(h), start, [1.0, 2.0], [1.0, 0.5], 0.3, 100, 500, np.random.default_rng(2))
    exact = conv.quadratic_mean_squared_gradient(h, start, run.noise_variance, 0.3, 100)
    error = run.mean_squared_gradient.std() / math.sqrt(500)
    assert abs(run.mean_squared_gradient.mean() - exact) < 4 * error


@common
@given(st.floats(0.05, 1.9), st.integers(1, 30), st.floats(0, 3))
def test_exact_mean_is_the_recursion(eta, steps, noise):
    h, start = np.array([1.0, 0.4]), np.array([2.0, -1.0])
    second, total = start**2, 0.0
    for _ in range(steps):
        total += np.sum(h**2 * second)
        second = (1 - eta * h) ** 2 * second + eta**2 * noise / 2
    assert conv.quadratic_mean_squared_gradient(h, start, noise, eta, steps) == pytest.approx(total / steps, rel=1e-9)


def test_exact_mean_shows_that_the_bound_needs_small_steps():
    value = conv.quadratic_mean_squared_gradient([1.0], [1.0], 0.0, 1.9, 400)
    assert value > 2 * 0.5 / (1.9 * 400)  # the formula beyond eta = 1/L


def test_empty_bins_and_noiseless_problems_are_allowed():
    assert conv.variance_ratio_of([0.0, 1.0], [1.0, 0.5], [0.0, 1.0]) == pytest.approx(1.0)
    assert conv.variance_ratio_of([1.0, 1.0], [0.0, 1.0]) == pytest.approx(1.0)
    run = simulate(weight=[0.0, 1.0], noise_variance=[1.0, 0.0], tail=2.5)
    assert run.noise_variance == 0 and run.mean_squared_gradient == pytest.approx([(1 + 0.25) / 2])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda bad: conv.variance_ratio_of(bad, [1.0]), "weight"),
        (lambda bad: conv.variance_ratio_of([1.0], bad), "noise_variance"),
        (lambda bad: conv.variance_ratio_of([1.0], [1.0], bad), "probability"),
        (lambda bad: conv.quadratic(bad), "curvatures"),
        (lambda bad: simulate(theta0=bad), "theta0"),
        (lambda bad: simulate(weight=bad), "weight"),
        (lambda bad: simulate(noise_variance=bad), "noise_variance"),
        (lambda bad: conv.quadratic_mean_squared_gradient(bad, [1.0], 0.1, 0.5, 3), "curvatures"),
        (lambda bad: conv.quadratic_mean_squared_gradient([1.0], bad, 0.1, 0.5, 3), "theta0"),
    ],
)
def test_arrays_have_one_axis(call, name):
    with pytest.raises(ValueError, match=rf"^{name} must be a 1-dimensional array of finite real numbers, got one of shape \(1, 1\)"):
        call([[1.0]])


def test_same_seed_same_run():
    runs = [
        conv.simulate_sgd(conv.saturating(), [1.0, 2.0], [1.0, 2.0], [1.0, 1.0], 0.2, 20, 3, np.random.default_rng(7)) for _ in range(2)
    ]
    assert (runs[0].mean_squared_gradient == runs[1].mean_squared_gradient).all()


def test_optimum_of_signal_per_noise_is_one_minus_a_s_when_gradients_align():
    """Along one shared direction E[w s]^2/E[w^2 n2] is best for the exponent 1 - a_s, not for SNR^2's exponent 1."""
    p = (np.arange(400) + 0.5) / 400
    q = p * (1 - p)
    for a_s in (0.25, 0.6):
        signal, noise = q**a_s, q ** (2 * a_s - 1)

        def gain(exponent, signal=signal, noise=noise):
            return -(np.mean(q**exponent * signal) ** 2) / np.mean(q ** (2 * exponent) * noise)

        found = optimize.minimize_scalar(gain, bounds=(0, 3), method="bounded", options={"xatol": 1e-8}).x
        assert found == pytest.approx(1 - a_s, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv.variance_ratio(0.0), "signal_exponent must be > 0 under the prior (1.0, 1.0), got 0: E[n2] is infinite"),
        (
            lambda: conv.variance_ratio([1.0, 0.2], prior=(0.5, 2)),
            "signal_exponent must be > 0.25 under the prior (0.5, 2), got 0.2: E[n2] is",
        ),
        (lambda: conv.variance_ratio([]), "signal_exponent must have at least 1 entries"),
        (lambda: conv.variance_ratio(np.nan), "signal_exponent must be an array of finite real numbers"),
        (lambda: conv.variance_ratio(0.5, -1.0), "alpha must be a finite number >= 0, got -1.0"),
        (lambda: conv.variance_ratio(0.5, 1.0, -1.0), "beta must be a finite number >= 0, got -1.0"),
        (lambda: conv.variance_ratio(0.5, prior=(0, 1)), "prior must be a pair"),
        (lambda: conv.breakeven_signal_exponent(prior=(0, 1)), "prior must be a pair"),
        (lambda: conv.variance_ratio_of([1, -1], [1, 1]), "weight must be >= 0 and not all 0, got minimum -1 and maximum 1"),
        (lambda: conv.variance_ratio_of([0, 0], [1, 1]), "weight must be >= 0 and not all 0, got minimum 0 and maximum 0"),
        (lambda: conv.variance_ratio_of([1, 1], [1]), "noise_variance must have as many entries as weight, 2, got 1"),
        (lambda: conv.variance_ratio_of([1, 1], [0, 0]), "noise_variance must be >= 0 and not all 0"),
        (lambda: conv.variance_ratio_of([1, 1], [1, 1], [1, 1, 1]), "probability must have as many entries as weight, 2, got 3"),
        (lambda: conv.variance_ratio_of([1, 1], [1, 1], [2, -1]), "probability must be >= 0 and not all 0, got minimum -1"),
        (lambda: conv.sgd_bound(-1, 1, 1, 0.1, 1), "initial_gap must be"),
        (lambda: conv.sgd_bound(1, 0, 1, 0.1, 1), "smoothness must be"),
        (lambda: conv.sgd_bound(1, 1, -1, 0.1, 1), "noise_variance must be"),
        (lambda: conv.sgd_bound(1, 1, 1, 0, 1), "step_size must be"),
        (lambda: conv.sgd_bound(1, 1, 1, 0.1, 0), "steps must be an integer >= 1, got 0"),
        (lambda: conv.steps_to_reach(0, 1, 1, 1), "squared_gradient must be"),
        (lambda: conv.steps_to_reach(1, -1, 1, 1), "initial_gap must be"),
        (lambda: conv.steps_to_reach(1, 1, 0, 1), "smoothness must be"),
        (lambda: conv.steps_to_reach(1, 1, 1, -1), "noise_variance must be"),
        (lambda: conv.quadratic([1.0, 0.0]), "curvatures must be > 0, got 0"),
        (lambda: conv.quadratic([]), "curvatures must have at least 1 entries"),
        (lambda: simulate(weight=[1, 1]), "weight and noise_variance must be >= 0, not all 0 and of equal length, got 2 and 1 entries"),
        (lambda: simulate(weight=[-1]), "weight and noise_variance must be >= 0"),
        (lambda: simulate(weight=[0]), "weight and noise_variance must be >= 0"),
        (lambda: simulate(noise_variance=[-1]), "weight and noise_variance must be >= 0"),
        (lambda: simulate(tail=2.0), "tail must be > 2 for the noise to have a variance, got 2.0"),
        (lambda: simulate(tail=math.nan), "tail must be a finite number > 0, got nan"),
        (lambda: simulate(step_size=1.5), "step_size must be <= 1/smoothness = 1, got 1.5"),
        (lambda: simulate(trajectories=0), "trajectories must be an integer >= 1, got 0"),
        (lambda: simulate(steps=0), "steps must be an integer >= 1, got 0"),
        (lambda: simulate(theta0=[]), "theta0 must have at least 1 entries"),
        (
            lambda: conv.quadratic_mean_squared_gradient([1.0], [1.0], 0.1, 2.0, 3),
            "step_size must be in (0, 2/max(curvatures)) = (0, 2), got 2",
        ),
        (
            lambda: conv.quadratic_mean_squared_gradient([4.0], [1.0], 0.1, 1.0, 3),
            "step_size must be in (0, 2/max(curvatures)) = (0, 0.5), got 1",
        ),
        (lambda: conv.quadratic_mean_squared_gradient([1.0], [1.0], -0.1, 1.0, 3), "noise_variance must be"),
        (lambda: conv.quadratic_mean_squared_gradient([1.0], [1.0], 0.1, 1.0, 0), "steps must be an integer >= 1"),
        (lambda: conv.quadratic_mean_squared_gradient([1.0], [1.0], 0.1, 0.0, 3), "step_size must be a finite number > 0, got 0.0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()


def simulate(theta0=(1.0,), weight=(1,), noise_variance=(1,), step_size=0.5, steps=2, trajectories=1, tail=None):
    rng = np.random.default_rng(0)
    objective = conv.quadratic([1.0])
    return conv.simulate_sgd(objective, list(theta0), list(weight), list(noise_variance), step_size, steps, trajectories, rng, tail=tail)
