"""Stopping rules: exact performance by enumeration, what they promise, and what early stopping does to estimates, by enumeration and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from paced_theory import allocation, stopping
from paced_theory.estimation import efficiency_table, fit_beta_prior, posterior_weight

LAB = (0.35, 0.43)
common = settings(deadline=None, max_examples=30)
priors = st.tuples(st.floats(0.3, 8), st.floats(0.3, 8))


def paths(proceed):
    """Every sequence of outcomes at which the rule may stop, and the probability that it goes on to its end and stops there."""
    stack = [((), 1.0)]
    while stack:
        path, share = stack.pop()
        on = proceed[len(path), sum(path)]
        if on > 0:
            stack += [((*path, 0), share * on), ((*path, 1), share * on)]
        if on < 1:
            yield path, share * (1 - on)


def rolled(proceed, p, rng):
    """k and n of problems with pass rates `p` under the rule."""
    k, n = np.zeros(p.size, dtype=int), np.zeros(p.size, dtype=int)
    going = np.ones(p.size, dtype=bool)
    while (going := going & (rng.random(p.size) < proceed[n, k])).any():
        k += going & (rng.random(p.size) < p)
        n += going
    return k, n


@common
@given(st.integers(1, 40), priors, st.floats(0.2, 3), st.floats(0.2, 3), st.data())
def test_weight_deviation_by_quadrature(n, prior, alpha, beta, data):
    k = data.draw(st.integers(0, n))
    posterior = stats.beta(k + prior[0], n - k + prior[1])
    mean = float(posterior_weight(k, n, alpha, beta, prior))
    # By the quantile function, in which no density is infinite.
    value, _ = integrate.quad(
        lambda u: (posterior.ppf(u) ** alpha * (1 - posterior.ppf(u)) ** beta - mean) ** 2, 0, 1, epsabs=1e-11, limit=400
    )
    assert float(stopping.weight_deviation(k, n, alpha, beta, prior)) == pytest.approx(math.sqrt(value), rel=1e-4, abs=1e-6)


def test_weight_deviation_of_many_rollouts_does_not_cancel():
    # At p = 1/2 the slope of p(1-p) is zero: w = 1/4 - d^2 with d normal of variance 1/(4n), so the deviation is sqrt(2)/(4n).
    n = 10**4
    assert float(stopping.weight_deviation(n // 2, n)) == pytest.approx(math.sqrt(2) / (4 * n), rel=1e-2)
    assert stopping.weight_deviation([0, 1], 4).shape == (2,) and isinstance(stopping.weight_deviation(1, 4), float)


@pytest.mark.parametrize("criterion", ["mean", "largest"])
@pytest.mark.parametrize("prior", [(1.0, 1.0), LAB, (2.0, 0.7)])
@pytest.mark.parametrize("first", [0, 2])
def test_performance_by_walking_through_every_outcome(criterion, prior, first):
    K = 4
    rule = stopping.as_exact_as(K, criterion, first=first, prior=prior)
    a, b = prior
    rollouts = second = deviation = total = 0.0
    for path, share in paths(rule.proceed):
        k, n = sum(path), len(path)
        assert n >= first
        mass = share * math.exp(_log_beta(k + a, n - k + b) - _log_beta(a, b))
        total += mass
        rollouts += mass * n
        weight = (k + a) * (n - k + b) / ((n + a + b) * (n + a + b + 1))
        second += mass * weight**2
        square = math.exp(_log_beta(k + a + 2, n - k + b + 2) - _log_beta(k + a, n - k + b))
        deviation = max(deviation, math.sqrt(square - weight**2))
    oracle = math.exp(_log_beta(a + 2, b + 2) - _log_beta(a, b))
    assert total == pytest.approx(1)
    assert rule.expected_rollouts == pytest.approx(rollouts, abs=1e-12)
    assert rule.efficiency == pytest.approx(second / oracle, abs=1e-12) and rule.deviation == pytest.approx(deviation, rel=1e-9)


def _log_beta(a, b):
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@common
@given(st.sampled_from([2, 3, 5, 8, 16]), priors, st.floats(0.5, 2), st.floats(0.5, 2), st.integers(0, 2))
def test_the_rule_keeps_its_promise_and_saves(K, prior, alpha, beta, first):
    uniform = efficiency_table(K, prior, alpha=alpha, beta=beta, assumed=prior)[0].posterior
    mean = stopping.as_exact_as(K, "mean", first=first, alpha=alpha, beta=beta, prior=prior)
    assert mean.efficiency >= uniform * (1 - 1e-10) and mean.expected_rollouts <= K * (1 + 1e-9)
    assert mean.efficiency <= uniform * (1 + 1e-6) or mean.expected_rollouts == first  # no more than was asked
    assert (((mean.proceed > 0) & (mean.proceed < 1)).sum()) <= 4
    largest = stopping.as_exact_as(K, "largest", first=first, alpha=alpha, beta=beta, prior=prior)
    worst = max(float(stopping.weight_deviation(k, K, alpha, beta, prior)) for k in range(K + 1))
    assert largest.deviation <= worst * (1 + 1e-9) and largest.expected_rollouts <= K * (1 + 1e-9)
    assert not largest.proceed[K].any()


@common
@given(st.integers(2, 6), priors)
def test_largest_stops_as_soon_as_it_may(K, prior):
    """No state before a stop is certain enough: the rule goes on only where it must."""
    rule = stopping.as_exact_as(K, "largest", prior=prior)
    worst = max(float(stopping.weight_deviation(k, K, prior=prior)) for k in range(K + 1))
    for path, _ in paths(rule.proceed):
        for n in range(1, len(path)):
            assert float(stopping.weight_deviation(sum(path[:n]), n, prior=prior)) > worst * (1 - 1e-9)


def test_savings_under_the_labs_law():
    """What docs/rollouts.md says."""
    mean, largest = (stopping.as_exact_as(8, criterion, first=2, prior=LAB) for criterion in ("mean", "largest"))
    assert mean.expected_rollouts / 8 == pytest.approx(0.915, abs=5e-3)
    assert largest.expected_rollouts / 8 == pytest.approx(0.545, abs=5e-3)
    uniform = efficiency_table(8, LAB, assumed=LAB)[0].posterior
    assert (1 - largest.efficiency) / (1 - uniform) == pytest.approx(1.44, abs=0.01)
    # No rule does better for the mean squared error.
    assert mean.expected_rollouts == pytest.approx(allocation.compare_allocation(8, prior=LAB).adaptive_rollouts, rel=1e-4)


@pytest.mark.parametrize("criterion", ["mean", "largest"])
def test_the_unbiased_rate_has_no_bias_and_the_plug_in_has(criterion):
    proceed = stopping.as_exact_as(5, criterion, first=2, prior=LAB).proceed
    unbiased = stopping.unbiased_rate(proceed)
    plain = []
    for p in (0.02, 0.1, 0.37, 0.5, 0.9):
        law = stopping.stopping_law(proceed, p)
        assert law.sum() == pytest.approx(1)
        by_path = {}
        for path, share in paths(proceed):
            state = len(path), sum(path)
            by_path[state] = by_path.get(state, 0.0) + share * p ** sum(path) * (1 - p) ** (len(path) - sum(path))
        for (n, k), mass in by_path.items():
            assert law[n, k] == pytest.approx(mass, abs=1e-13)
        assert np.nansum(law * unbiased) == pytest.approx(p, abs=1e-12)
        n, k = np.nonzero(law)
        plain.append(float(law[n, k] @ (k / n)) - p)
    assert max(map(abs, plain)) > 0.01
    n, k = np.nonzero(~np.isnan(unbiased))
    assert {(int(a), int(b)) for a, b in zip(n, k, strict=True)} == {(len(path), sum(path)) for path, _ in paths(proceed)}
    begun = {}
    for path, share in paths(proceed):
        begun.setdefault((len(path), sum(path)), []).append((path[0], share))
    for state, firsts in begun.items():
        passes, shares = zip(*firsts, strict=True)
        assert unbiased[state] == pytest.approx(np.average(passes, weights=shares))


def test_a_fixed_number_of_rollouts_is_the_simplest_rule():
    K = 6
    proceed = np.zeros((K + 1, K + 1))
    for n, k in itertools.product(range(K), range(K)):
        proceed[n, k] = k <= n
    assert stopping.unbiased_rate(proceed)[K].tolist() == pytest.approx([k / K for k in range(K + 1)])
    assert stopping.stopping_law(proceed, 0.3)[K].tolist() == pytest.approx(stats.binom.pmf(range(K + 1), K, 0.3).tolist())


@pytest.mark.parametrize("criterion", ["mean", "largest"])
def test_posterior_means_and_the_fitted_law_stay_right_under_early_stopping(criterion):
    rule = stopping.as_exact_as(8, criterion, first=2, prior=LAB)
    rng = np.random.default_rng(5)
    p = rng.beta(*LAB, 200_000)
    k, n = rolled(rule.proceed, p, rng)
    assert n.mean() == pytest.approx(rule.expected_rollouts, rel=0.01)
    w, v = p * (1 - p), posterior_weight(k, n, prior=LAB)
    assert 1 - np.mean((v - w) ** 2) / np.mean(w**2) == pytest.approx(rule.efficiency, abs=0.01)
    # Calibrated: among problems of a state, the mean of w is the posterior mean, and its spread the posterior deviation.
    for state in set(zip(n.tolist(), k.tolist(), strict=True)):
        here = (n == state[0]) & (k == state[1])
        if here.sum() > 500:
            error = (w[here] - v[here]).mean() / (w[here].std() / math.sqrt(here.sum()))
            assert abs(error) < 4.5, state
    # Among the hard problems that are solved at times, the plug-in is off by many standard errors; the unbiased rate is not. The fitted law
    # is the true one.
    hard = (p > 0.05) & (p < 0.3)
    plain, unbiased = k[hard] / n[hard] - p[hard], stopping.unbiased_rate(rule.proceed)[n, k][hard] - p[hard]
    assert abs(plain.mean()) > 6 * plain.std() / math.sqrt(hard.sum())
    assert abs(unbiased.mean()) < 4 * unbiased.std() / math.sqrt(hard.sum())
    a, b = fit_beta_prior(k, n)
    assert (a, b) == pytest.approx(LAB, rel=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stopping.as_exact_as(0, "mean"), "K"),
        (lambda: stopping.as_exact_as(4, "mean", first=5), "first must be at most K = 4, got 5"),
        (lambda: stopping.as_exact_as(4, "median"), "criterion must be one of 'mean', 'largest', got 'median'"),
        (lambda: stopping.as_exact_as(4, "mean", prior=(0, 1)), "prior"),
        (lambda: stopping.weight_deviation(3, 2), "k must be"),
        (lambda: stopping.weight_deviation(1, 2, -1.0), "alpha"),
        (lambda: stopping.stopping_law(np.zeros((2, 2)), 1.5), "p must"),
        (lambda: stopping.stopping_law(np.ones((2, 2)), 0.5), "last row stops"),
        (lambda: stopping.unbiased_rate(np.zeros((2, 2))), "first rollout"),
        (lambda: stopping.unbiased_rate(np.ones((2, 3))), "square table"),
        (lambda: allocation.allocation_policy(0.1, 4, first=5), "first must be at most max_rollouts = 4"),
    ],
)
def test_nonsense_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
