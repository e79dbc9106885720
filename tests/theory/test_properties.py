"""Laws that hold for any input, for the public functions whose own test file checks single values; and that none is left without."""

import ast
import inspect
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

import paced_theory
from paced_theory.allocation import compare_allocation
from paced_theory.connections import connections_table
from paced_theory.convergence import quadratic, saturating, sgd_bound, simulate_sgd
from paced_theory.estimation import DiscreteLaw, bernstein, count_moments, efficiency, empirical_bayes_weight, fit_beta_prior
from paced_theory.kernels import BernoulliEntropy, Linear, SqrtVariance, Uniform
from paced_theory.representation import compare_models, counterexample, remainder
from paced_theory.robustness import aggregate_efficiency, find_adversary, worst_case_efficiency
from paced_theory.snr import (
    FlatTest,
    combine,
    effective_rank,
    estimate_snr,
    flat_snr_test,
    permutation_null,
    problems_needed,
    sign_flip_null,
    signal_and_noise,
    trimmed_snr,
    unit_norm_snr,
)
from paced_theory.stages import SCHEDULES, mean_interval, population_outcomes, run_schedule, stage_outcomes
from paced_theory.toy_students import random_mixture, random_softmax

common = settings(deadline=None, max_examples=30)
costly = settings(deadline=None, max_examples=5)
slowest = settings(deadline=None, max_examples=3)
seeds = st.integers(0, 10_000)
rates = st.just(0.0) | st.floats(1e-12, 1)  # scipy's binomial law overflows at smaller positive rates
inner = st.floats(0.001, 0.999)
priors = st.tuples(st.floats(0.3, 6), st.floats(0.3, 6))


# ---- estimation and allocation


@slowest
@given(st.integers(1, 3), st.sampled_from([(1.0, 1.0), (0.5, 1.5), (3.0, 2.0)]), st.integers(1, 4))
def test_adaptive_rollouts_never_lose_and_a_higher_cap_never_hurts(K, prior, factor):
    lower, higher = (compare_allocation(K, max_factor=f, prior=prior) for f in (factor, factor + 1))
    for found in (lower, higher):
        assert found.uniform_efficiency - 1e-9 <= found.adaptive_efficiency <= 1 + 1e-12
        assert -1e-9 <= found.saving <= 1 and found.adaptive_rollouts == pytest.approx(K * (1 - found.saving))
    assert higher.adaptive_efficiency >= lower.adaptive_efficiency - 1e-3  # both frontiers are drawn through 200 prices


@common
@given(st.lists(rates, min_size=1, max_size=6), st.integers(1, 12), st.data())
def test_a_discrete_law_is_a_mixture_of_its_atoms(atoms, K, data):
    masses = np.array(data.draw(st.lists(st.floats(0.1, 1), min_size=len(atoms), max_size=len(atoms))))
    masses /= masses.sum()
    law = DiscreteLaw(atoms, masses)
    mixed = sum(mass * stats.binom.pmf(np.arange(K + 1), K, p) for mass, p in zip(masses, atoms, strict=True))
    assert count_moments(K, law) == pytest.approx(mixed, abs=1e-12)
    # The order of the atoms does not matter, nor an atom written down as two halves.
    assert count_moments(K, DiscreteLaw([*atoms, *atoms], np.tile(masses / 2, 2))) == pytest.approx(mixed, abs=1e-12)
    assert count_moments(K, DiscreteLaw(atoms[::-1], masses[::-1])) == pytest.approx(mixed, abs=1e-12)
    weights = np.arange(1.0, K + 2)
    if any(0 < p < 1 for p in atoms) and law.probabilities @ (law.pass_rates * (1 - law.pass_rates)) ** 2 > 1e-12:
        assert 0 <= efficiency(weights, K, law) <= 1 + 1e-12


@common
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12), rates)
def test_bernstein_polynomials_are_binomial_expectations(coefficients, p):
    n = len(coefficients) - 1
    found = bernstein(np.array(coefficients), np.array([p]))
    assert found[0] == pytest.approx(stats.binom.pmf(np.arange(n + 1), n, p) @ np.array(coefficients), abs=1e-9)
    assert min(coefficients) - 1e-12 <= found[0] <= max(coefficients) + 1e-12


@costly
@given(seeds, st.integers(2, 9), priors)
def test_a_fitted_prior_is_mirrored_with_the_counts_and_no_other_prior_is_likelier(seed, K, prior):
    rng = np.random.default_rng(seed)
    k = rng.binomial(K, rng.beta(*prior, 60))
    assume(0 < k.mean() < K)
    a, b = fit_beta_prior(k, K)
    mirrored = fit_beta_prior(K - k, K)

    def log_likelihood(a, b):
        return stats.betabinom.logpmf(k, K, a, b).sum()

    assert log_likelihood(*mirrored[::-1]) == pytest.approx(log_likelihood(a, b), abs=1e-4)
    for factor in (0.8, 1.25):
        assert log_likelihood(a * factor, b) <= log_likelihood(a, b) + 1e-6
        assert log_likelihood(a * factor, b * factor) <= log_likelihood(a, b) + 1e-6 or not 1e-3 < (a + b) * factor < 1e6
    weights = empirical_bayes_weight(k, K)
    assert weights == pytest.approx(empirical_bayes_weight(k[::-1], K)[::-1], rel=1e-6)
    assert (weights > 0).all() and (weights <= 0.25).all() and empirical_bayes_weight(k, K, 0, 0) == pytest.approx(1.0)


# ---- kernels and connections


@common
@given(inner, st.floats(0, 3), st.floats(0.1, 3))
def test_simple_kernels_are_their_formulas_and_symmetric(p, left, right):
    assert float(Uniform()(p)) == 1 and float(SqrtVariance()(p)) == pytest.approx(math.sqrt(p * (1 - p)))
    assert float(Linear(left, right)(p)) == pytest.approx(float(Linear(right, left)(1 - p)))
    assert float(BernoulliEntropy()(p)) == pytest.approx(stats.bernoulli(p).entropy()) == pytest.approx(float(BernoulliEntropy()(1 - p)))


@slowest
@given(st.floats(0, 1), st.floats(0.01, 1), priors)
def test_worst_cases_fall_with_delta_and_never_exceed_the_efficiency(delta, more, prior):
    for near, far in zip(connections_table(delta, prior), connections_table(delta + more, prior), strict=True):
        assert near.method == far.method and near.efficiency == far.efficiency <= 1
        assert 0 < far.worst_case < near.worst_case <= near.efficiency + 2e-3  # the worst case is found on a grid of pass rates
    first = connections_table(delta, prior)[0]
    assert first.efficiency == pytest.approx(1) and first.worst_case == pytest.approx(float(worst_case_efficiency(delta)), abs=1e-3)


# ---- convergence


@common
@given(st.floats(0, 50), st.floats(0.1, 10), st.floats(0, 50), st.floats(0.01, 1), st.integers(1, 500), st.floats(0.1, 10))
def test_the_sgd_bound_scales_and_rises_with_noise_and_gap(gap, smoothness, noise, share, steps, scale):
    eta = share / smoothness
    bound = sgd_bound(gap, smoothness, noise, eta, steps)
    assert sgd_bound(scale * gap, smoothness, scale * noise, eta, steps) == pytest.approx(scale * bound)
    assert sgd_bound(gap + 1, smoothness, noise, eta, steps) > bound < sgd_bound(gap, smoothness, noise + 1, eta, steps)
    assert sgd_bound(gap, smoothness, noise, eta, steps + 1) <= bound


@common
@given(seeds, st.booleans())
def test_objectives_have_the_gradient_and_the_smoothness_they_state(seed, convex):
    rng = np.random.default_rng(seed)
    objective = quadratic(rng.uniform(0.1, 5, 3)) if convex else saturating()
    x, y = rng.normal(scale=2, size=(2, 3))
    numeric = [(objective.value(x + h) - objective.value(x - h)) / 2e-5 for h in 1e-5 * np.eye(3)]
    assert objective.gradient(x) == pytest.approx(np.array(numeric), abs=1e-6)
    assert np.linalg.norm(objective.gradient(x) - objective.gradient(y)) <= objective.smoothness * np.linalg.norm(x - y) * (1 + 1e-12)
    assert objective.value(x) >= 0 == objective.value(np.zeros(3))


@costly
@given(seeds, st.integers(1, 4), st.floats(0.1, 10))
def test_simulated_sgd_keeps_its_bound_and_ignores_the_scale_of_the_weights(seed, bins, scale):
    rng = np.random.default_rng(seed)
    weight, noise = rng.uniform(0.1, 1, bins), rng.uniform(0.1, 1, bins)
    runs = [
        simulate_sgd(saturating(), np.ones(2), factor * weight, noise, 0.2, 40, 200, np.random.default_rng(seed)) for factor in (1.0, scale)
    ]
    assert runs[0].mean_squared_gradient == pytest.approx(runs[1].mean_squared_gradient)
    assert runs[0].noise_variance == pytest.approx(runs[1].noise_variance)
    assert runs[0].mean_squared_gradient.mean() <= runs[0].bound


# ---- representation and robustness


@common
@given(inner)
def test_the_counterexample_leaves_a_doubly_logarithmic_remainder(p):
    value = counterexample(np.array([p]))
    assert value[0] == pytest.approx(p * abs(math.log(p))) and 0 < value[0] <= math.exp(-1) + 1e-15
    assert remainder(np.array([p]), value, 1, 0)[0] == pytest.approx(math.log(abs(math.log(p))), abs=1e-9)


@costly
@given(seeds, st.floats(0.1, 10))
def test_comparing_models_ignores_the_scale_and_mirrors_the_exponents(seed, scale):
    p = np.linspace(0.05, 0.95, 10)
    rng = np.random.default_rng(seed)
    y = p * (1 - p) ** 2 + 0.005 * rng.standard_normal(10)
    error = np.full(10, 0.005)
    base = {row.name: row for row in compare_models(p, y, error)}
    for row in compare_models(p, scale * y, scale * error):
        assert row.chi_squared == pytest.approx(base[row.name].chi_squared, rel=1e-6)
    mirrored = {row.name: row for row in compare_models(1 - p[::-1], y[::-1], error)}
    assert mirrored["p^a (1-p)^b"].parameters["a"] == pytest.approx(base["p^a (1-p)^b"].parameters["b"], abs=1e-5)
    assert [row.delta_aic for row in mirrored.values()] == sorted(row.delta_aic for row in mirrored.values())
    nested = base["p^a (1-p)^b"].chi_squared  # c p(1-p), c sqrt(p(1-p)) and the constant are special cases
    assert all(nested <= base[name].chi_squared + 1e-9 for name in ("p(1-p)", "constant", "sqrt(p(1-p))"))


@costly
@given(st.floats(0.05, 1.5), st.floats(0, 1.5), seeds)
def test_no_law_is_worse_than_the_adversary_found(low, high, seed):
    found = find_adversary(low, high)
    assert found.nu.sum() == pytest.approx(1) and (found.nu >= -1e-12).all() and found.eps[0] == -low and found.eps[-1] == high
    assert found.efficiency == pytest.approx(float(worst_case_efficiency(low, high)), abs=1e-5)
    other = np.random.default_rng(seed).dirichlet(np.full(found.eps.size, 0.05))
    assert aggregate_efficiency(found.eps, other) >= found.efficiency - 1e-5


# ---- SNR


def gradients_of(seed, n, d=4):
    return np.random.default_rng(seed).standard_normal((n, d)) + 0.3


@common
@given(seeds, st.integers(2, 12))
def test_signal_and_noise_agree_with_the_sample_covariance(seed, n):
    g = gradients_of(seed, n)
    signal, noise = signal_and_noise(n, float((g.sum(axis=0) ** 2).sum()), float((g**2).sum()))
    assert noise == pytest.approx(g.var(axis=0, ddof=1).sum()) and signal + noise / n == pytest.approx((g.mean(axis=0) ** 2).sum())


@common
@given(seeds, st.lists(st.floats(-3, 3), min_size=1, max_size=4), st.floats(0.1, 5))
def test_combining_is_linear_and_its_interval_contains_the_value(seed, weights, scale):
    estimates = [estimate_snr(gradients_of(seed + i, 8)) for i in range(len(weights))]
    value, low, high = combine(estimates, weights)
    assert low <= value <= high and value == pytest.approx(sum(w * e.snr_squared for w, e in zip(weights, estimates, strict=True)))
    assert combine(estimates, [scale * w for w in weights]) == pytest.approx((scale * value, scale * low, scale * high))
    assert combine(estimates, [-w for w in weights]) == pytest.approx((-value, -high, -low))


@common
@given(seeds, st.integers(5, 12), st.sampled_from([1e-6, 1e6]))
def test_kin_of_the_snr_are_free_of_scale_and_the_unit_norm_one_of_every_length(seed, n, scale):
    g = gradients_of(seed, n)
    lengths = np.random.default_rng(seed).lognormal(0, 2, n)[:, None]
    trimmed = trimmed_snr(g @ g.T, share=0.2)
    assert trimmed.n == n - math.ceil(0.2 * n) and trimmed.snr_squared_low <= trimmed.snr_squared <= trimmed.snr_squared_high
    assert trimmed_snr(scale * g @ g.T, share=0.2).snr_squared_low == pytest.approx(trimmed.snr_squared_low, rel=1e-6, abs=1e-9)
    unit, scaled = unit_norm_snr(g @ g.T), unit_norm_snr((lengths * g) @ (lengths * g).T)
    assert scaled.snr_squared == pytest.approx(unit.snr_squared, rel=1e-6, abs=1e-9) and unit.effective_n == pytest.approx(n)


@common
@given(seeds, st.integers(2, 6))
def test_the_test_of_a_flat_snr_is_free_of_order_and_finds_nothing_in_one_bin_repeated(seed, bins):
    estimates = [estimate_snr(gradients_of(seed + i, 8)) for i in range(bins)]
    found, turned = flat_snr_test(estimates), flat_snr_test(estimates[::-1])
    assert isinstance(found, FlatTest) and 0 <= found.p_value <= 1 and found.degrees == bins - 1
    assert turned.p_value == pytest.approx(found.p_value, abs=1e-6)
    assert flat_snr_test([estimates[0]] * bins).p_value == 1.0


@common
@given(seeds, st.lists(st.integers(2, 6), min_size=1, max_size=3), st.sampled_from([0.01, 7.0]))
def test_nulls_are_free_of_scale_and_one_bin_of_all_problems_cannot_be_shuffled(seed, sizes, scale):
    g = gradients_of(seed, sum(sizes))
    null, scaled = (permutation_null(f * g, sizes, replicates=4, rng=np.random.default_rng(seed)) for f in (1.0, scale))
    assert null.shape == (4, len(sizes)) and scaled == pytest.approx(null, rel=1e-3, abs=1e-3)
    whole = permutation_null(g, [len(g)], replicates=2, rng=np.random.default_rng(seed))
    signal, noise = signal_and_noise(len(g), float((g.sum(axis=0) ** 2).sum()), float((g**2).sum()))
    assert whole == pytest.approx(signal / noise, rel=1e-4, abs=1e-5)
    flipped, again = (sign_flip_null(f**2 * g @ g.T, replicates=4, rng=np.random.default_rng(seed)) for f in (1.0, scale))
    assert again == pytest.approx(flipped) and (flipped >= -1 / len(g) - 1e-12).all()


@common
@given(st.floats(1e-4, 1), st.floats(1, 1000), st.floats(0.05, 0.9), st.floats(1e-4, 0.2))
def test_more_problems_are_needed_for_less_signal_more_power_and_a_stricter_level(snr_squared, rank, power, level):
    n = problems_needed(snr_squared, effective_rank=rank, power=power, level=level)
    assert n >= 2
    assert problems_needed(snr_squared / 2, effective_rank=rank, power=power, level=level) >= n
    assert problems_needed(snr_squared, effective_rank=rank, power=power + 0.05, level=level) >= n
    assert problems_needed(snr_squared, effective_rank=rank, power=power, level=level / 2) >= n


@common
@given(seeds, st.integers(3, 12), st.sampled_from([1e-6, 1e6]))
def test_effective_rank_is_at_least_one_and_free_of_scale_order_and_shift(seed, n, scale):
    g = gradients_of(seed, n)
    rank = effective_rank(g @ g.T)
    assert 1 <= rank <= n**2
    for other in (scale * g, g[::-1], g + 3.0):
        assert effective_rank(other @ other.T) == pytest.approx(rank, rel=1e-6)


# ---- stages


@costly
@given(seeds, st.sampled_from([random_mixture, random_softmax]), st.sampled_from(["forward", "reverse"]))
def test_a_flow_lowers_its_loss_from_every_start(seed, draw, schedule):
    rng = np.random.default_rng(seed)
    student = draw(rng)
    starts = student.draw_starts(4, rng)
    loss = student.forward_kl if schedule == "forward" else student.reverse_kl
    ends = run_schedule(student, starts, schedule, time=20.0)
    assert ends.shape == starts.shape and (loss(ends) <= loss(starts) + 1e-6).all()
    assert (loss(run_schedule(student, ends, schedule, time=20.0)) <= loss(ends) + 1e-6).all()


@costly
@given(seeds, st.sampled_from([random_mixture, random_softmax]))
def test_outcomes_are_shares_inside_their_intervals(seed, draw):
    rng = np.random.default_rng(seed)
    student = draw(rng)
    outcomes = stage_outcomes(student, student.draw_starts(4, rng), time=20.0)
    assert tuple(outcome.schedule for outcome in outcomes) == SCHEDULES
    for outcome in outcomes:
        assert outcome.mass.shape == (4,) and outcome.mean_mass.value == pytest.approx(outcome.mass.mean())
        for share in (outcome.on_best, outcome.stuck):
            assert 0 <= share.low <= share.value + 1e-12 and share.value <= share.high + 1e-12 <= 1 + 1e-9
    population = population_outcomes(draw, np.random.default_rng(seed), teachers=2, starts=2, time=5.0)
    for schedule, row in zip(SCHEDULES, population, strict=True):
        assert row.schedule == schedule and row.mean_mass.low <= row.mean_mass.value <= row.mean_mass.high
        assert row.mass_over_forward.value == pytest.approx(row.mean_mass.value - population[0].mean_mass.value)
        assert row.stuck_over_reverse.value == pytest.approx(row.stuck.value - population[1].stuck.value)


@common
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20), st.floats(-5, 5), st.floats(0.5, 2), st.floats(0.5, 0.99))
def test_mean_intervals_are_student_s_and_move_with_the_sample(sample, shift, scale, confidence):
    assume(np.std(sample) > 1e-6)
    found = mean_interval(sample, confidence)
    expected = stats.t.interval(confidence, len(sample) - 1, np.mean(sample), stats.sem(sample))
    assert (found.low, found.high) == pytest.approx(expected) and found.low <= found.value <= found.high
    moved = mean_interval(scale * np.array(sample) + shift, confidence)
    assert (moved.value, moved.low, moved.high) == pytest.approx(tuple(scale * x + shift for x in (found.value, found.low, found.high)))


# ---- completeness


def names_in_property_tests():
    """Every name used in a test drawn by hypothesis, with what its file's own helpers and constants use."""
    used = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        tree = ast.parse(path.read_text())
        helpers = {
            name: node
            for node in tree.body
            for name in (
                [node.name] if isinstance(node, ast.FunctionDef) else [t.id for t in getattr(node, "targets", []) if hasattr(t, "id")]
            )
        }
        pending = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and any("given" in ast.dump(decorator) for decorator in node.decorator_list)
        ]
        while pending:
            for node in ast.walk(pending.pop()):
                name = getattr(node, "id", getattr(node, "attr", None))
                if name is not None and name not in used:
                    used.add(name)
                    pending += [helpers[name]] if name in helpers else []
    return used


def test_every_public_function_has_a_property_test():
    containers = {"Connection", "EfficiencyRow", "LeadingOrderFit", "MixtureFit", "ModelComparison", "SNREstimate", "Kernel"}
    containers |= {"AllocationComparison", "AllocationPolicy", "GaussianStudent", "SoftmaxFamily"}  # the last two: drawn by random_*
    containers |= {"StoppingRule", "Langevin"}
    elsewhere = {
        "stopping_law",
        "unbiased_rate",
        "weight_deviation",
        "as_exact_as",
        "asgld_mean_squared_gradient",
    }  # test_stopping, test_langevin
    public = {name for name in paced_theory.__all__ if name not in containers}
    assert all(inspect.isclass(getattr(paced_theory, name)) for name in containers)
    assert public - elsewhere - names_in_property_tests() == set()
