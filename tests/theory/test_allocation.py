"""Adaptive allocation: optimality by brute force, exact performance by simulation, and the saving it brings."""

import inspect
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paced_theory import allocation
from paced_theory.estimation import efficiency_table, posterior_weight

common = settings(deadline=None, max_examples=40)
priors = st.tuples(st.floats(0.3, 8), st.floats(0.3, 8))


@common
@given(st.integers(1, 30), priors, st.floats(0, 3), st.floats(0, 3), st.data())
def test_rollout_value_is_the_variance_of_the_updated_weight(n, prior, alpha, beta, data):
    k = data.draw(st.integers(0, n))
    success = (k + prior[0]) / (n + sum(prior))
    updated = [float(posterior_weight(k + up, n + 1, alpha, beta, prior)) for up in (1, 0)]
    mean = success * updated[0] + (1 - success) * updated[1]
    assert mean == pytest.approx(float(posterior_weight(k, n, alpha, beta, prior)), rel=1e-9)  # a martingale
    second = success * updated[0] ** 2 + (1 - success) * updated[1] ** 2
    assert allocation.rollout_value(k, n, alpha, beta, prior) == pytest.approx(second - mean**2, abs=1e-12)


def test_rollout_value_keeps_shapes():
    assert isinstance(allocation.rollout_value(1, 4), float)
    assert allocation.rollout_value([[0], [1]], [2, 3]).shape == (2, 2)
    assert allocation.rollout_value(1, 4) == allocation.rollout_value(1, 4, 1.0, 1.0, (1.0, 1.0))


def value_of_rule(proceed, prior, price, maximum):
    """Efficiency and rollouts of a stopping rule by walking through every sequence of outcomes."""
    a, b = prior
    oracle = (a * (a + 1) * b * (b + 1)) / np.prod([a + b + i for i in range(4)])
    reached = rollouts = 0.0
    stack = [(0, 0, 1.0)]
    while stack:
        k, n, mass = stack.pop()
        if n < maximum and proceed(k, n):
            rollouts += mass
            success = (k + a) / (n + a + b)
            stack += [(k + 1, n + 1, mass * success), (k, n + 1, mass * (1 - success))]
        else:
            weight = (k + a) * (n - k + b) / ((n + a + b) * (n + a + b + 1))
            reached += mass * weight**2 / oracle
    return reached, rollouts


@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize("price", [0.001, 0.01, 0.03, 0.2])
def test_policy_is_the_best_of_all_stopping_rules(prior, price):
    maximum = 3
    states = [(k, n) for n in range(maximum) for k in range(n + 1)]
    best = -np.inf
    for choices in itertools.product((False, True), repeat=len(states)):
        rule = dict(zip(states, choices, strict=True))
        reached, rollouts = value_of_rule(lambda k, n, rule=rule: rule[k, n], prior, price, maximum)
        best = max(best, reached - price * rollouts)
    policy = allocation.allocation_policy(price, maximum, prior=prior)
    assert policy.efficiency - price * policy.expected_rollouts == pytest.approx(best, abs=1e-12)
    assert policy.price == price and policy.proceed.shape == (4, 4) and policy.proceed.dtype == np.bool_
    reached, rollouts = value_of_rule(lambda k, n: policy.proceed[n, k], prior, price, maximum)
    assert policy.efficiency == pytest.approx(reached, abs=1e-12) and policy.expected_rollouts == pytest.approx(rollouts, abs=1e-12)


def test_policy_uses_the_exponents():
    prior, maximum, price = (0.8, 1.4), 6, 0.004
    policy = allocation.allocation_policy(price, maximum, 2.0, 0.5, prior)
    mirrored = allocation.allocation_policy(price, maximum, 0.5, 2.0, prior[::-1])
    assert policy.efficiency == pytest.approx(mirrored.efficiency, rel=1e-12)
    n, k = np.tril_indices(maximum + 1)
    assert (policy.proceed[n, k] == mirrored.proceed[n, n - k]).all()
    assert policy.efficiency != pytest.approx(allocation.allocation_policy(price, maximum, prior=prior).efficiency, rel=1e-3)


def test_free_rollouts_are_all_taken_and_give_the_uniform_efficiency():
    policy = allocation.allocation_policy(0.0, 12)
    assert policy.expected_rollouts == pytest.approx(12, abs=1e-9)
    assert policy.efficiency == pytest.approx(efficiency_table(12)[0].posterior, rel=1e-12)
    assert not policy.proceed[12].any() and not np.triu(policy.proceed, 1).any()


def test_dear_rollouts_are_not_taken():
    policy = allocation.allocation_policy(1.0, 12)
    assert policy.expected_rollouts == 0 and not policy.proceed.any()
    assert policy.efficiency == pytest.approx(5 / 6, rel=1e-12)  # the constant weight


def test_worthless_rollouts_are_not_taken_at_price_zero():
    policy = allocation.allocation_policy(0.0, 5, 0.0, 0.0)  # the weight is 1 whatever p is
    assert policy.expected_rollouts == 0 and policy.efficiency == pytest.approx(1.0, rel=1e-12)


@common
@given(st.floats(1e-4, 0.05), priors)
def test_more_is_bought_when_rollouts_are_cheaper(price, prior):
    dear, cheap = (allocation.allocation_policy(c, 16, prior=prior) for c in (price, price / 3))
    assert cheap.expected_rollouts >= dear.expected_rollouts - 1e-9 and cheap.efficiency >= dear.efficiency - 1e-12
    assert 0 <= dear.efficiency <= 1


def test_policy_performance_agrees_with_simulation():
    policy = allocation.allocation_policy(0.004, 40, prior=(0.7, 1.3))
    rng = np.random.default_rng(0)
    p = rng.beta(0.7, 1.3, 60_000)
    k, n = np.zeros(p.size, dtype=int), np.zeros(p.size, dtype=int)
    while (going := policy.proceed[n, k]).any():
        k += going & (rng.random(p.size) < p)
        n += going
    oracle = p * (1 - p)
    weight = (k + 0.7) * (n - k + 1.3) / ((n + 2) * (n + 3))
    assert n.mean() == pytest.approx(policy.expected_rollouts, rel=0.02)
    simulated = (weight @ oracle) ** 2 / ((weight @ weight) * (oracle @ oracle))
    assert simulated == pytest.approx(policy.efficiency, abs=4e-3)


@common
@given(st.floats(0.1, 20), priors)
def test_best_policy_stays_within_the_budget_and_beats_the_uniform_one(budget, prior):
    policy = allocation.best_policy(budget, 24, prior=prior)
    assert policy.expected_rollouts <= budget
    whole = round(policy.expected_rollouts)
    if whole >= 1 and abs(policy.expected_rollouts - whole) < 1e-12:
        assert policy.efficiency >= efficiency_table(whole, prior, assumed=prior)[0].posterior - 1e-12


def test_best_policy_takes_the_last_rule_under_the_budget():
    policy = allocation.best_policy(8, 64)
    cheaper = allocation.allocation_policy(policy.price * (1 - 1e-6), 64)
    assert policy.expected_rollouts == pytest.approx(7.12669, abs=1e-4) and cheaper.expected_rollouts > 8
    # Worth nothing, and not bought even free of charge: a fifth rollout after 2 of 4, by symmetry. That is one problem in five.
    assert allocation.best_policy(100.0, 5).expected_rollouts == pytest.approx(4.8)


@pytest.mark.parametrize(("K", "saving"), [(2, 0.456), (4, 0.223), (8, 0.198), (16, 0.157)])
def test_saving_under_uniform_pass_rates(K, saving):
    result = allocation.compare_allocation(K)
    assert result.K == K and result.uniform_efficiency == pytest.approx(efficiency_table(K)[0].posterior, rel=1e-12)
    assert result.saving == pytest.approx(saving, abs=1e-3)
    assert result.adaptive_rollouts == pytest.approx(K * (1 - result.saving), rel=1e-12)
    assert result.adaptive_efficiency > result.uniform_efficiency


def test_best_policy_and_comparison_use_the_exponents_and_the_prior():
    prior, exponents = (0.6, 2.2), (2.0, 0.5)
    for policy in (allocation.best_policy(1e-6, 6, *exponents, prior), allocation.best_policy(3.0, 6, *exponents, prior)):
        again = allocation.allocation_policy(policy.price, 6, *exponents, prior)
        assert policy.expected_rollouts == again.expected_rollouts and policy.efficiency == again.efficiency
    everything = allocation.best_policy(50.0, 6, *exponents, prior)
    assert everything.efficiency == pytest.approx(efficiency_table(6, prior, alpha=2.0, beta=0.5, assumed=prior)[0].posterior, rel=1e-12)
    result = allocation.compare_allocation(3, max_factor=2, alpha=2.0, beta=0.5, prior=prior)
    table = efficiency_table(3, prior, alpha=2.0, beta=0.5, assumed=prior)[0]
    assert result.uniform_efficiency == table.posterior
    free = allocation.allocation_policy(0.0, 6, *exponents, prior)
    assert result.uniform_efficiency < result.adaptive_efficiency < free.efficiency


def test_frontier_is_increasing_and_ends_with_every_rollout_taken():
    points = allocation._frontier(8, 1.0, 1.0, (0.7, 2.0))
    assert (np.diff(points[:, 0]) > 0).all() and (np.diff(points[:, 1]) > -1e-12).all()
    assert points[0, 0] == 0 and points[-1, 0] == pytest.approx(8, abs=1e-6)
    free = allocation.allocation_policy(0.0, 8, prior=(0.7, 2.0))
    assert points[-1].tolist() == [free.expected_rollouts, free.efficiency]


def test_no_problem_gets_more_than_max_factor_times_the_average():
    assert inspect.signature(allocation.compare_allocation).parameters["max_factor"].default == 8
    capped, free = (allocation.compare_allocation(8, max_factor=factor) for factor in (1, 2))
    assert capped.adaptive_efficiency == pytest.approx(capped.uniform_efficiency, rel=1e-12)
    assert capped.adaptive_efficiency < free.adaptive_efficiency


def test_saving_is_never_negative_and_grows_with_the_cap():
    for prior in ((0.5, 3.0), (0.2, 0.2), (4.0, 4.0)):
        small, large = (allocation.compare_allocation(4, max_factor=f, prior=prior).saving for f in (1, 4))
        assert -1e-9 <= small <= large + 1e-9


def test_one_rollout_is_worth_nothing_under_a_uniform_prior():
    result = allocation.compare_allocation(1)
    assert result.saving == pytest.approx(1.0, abs=1e-9) and result.adaptive_rollouts == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: allocation.rollout_value(3, 2), "^k must be integers between 0 and n"),
        (lambda: allocation.rollout_value(1, 2, prior=(0, 1)), "^prior must be a pair"),
        (lambda: allocation.allocation_policy(-1.0, 3), "^price must be a finite number >= 0, got -1.0"),
        (lambda: allocation.allocation_policy(0.1, 0), "^max_rollouts must be an integer >= 1, got 0"),
        (lambda: allocation.allocation_policy(0.1, 3, -1.0), "^alpha must be"),
        (lambda: allocation.allocation_policy(0.1, 3, 1.0, -1.0), "^beta must be"),
        (lambda: allocation.allocation_policy(0.1, 3, prior=(1, 0)), "^prior must be a pair"),
        (lambda: allocation.best_policy(0.0, 3), "^budget must be a finite number > 0, got 0.0"),
        (lambda: allocation.compare_allocation(0), "^K must be an integer >= 1, got 0"),
        (lambda: allocation.compare_allocation(2, max_factor=0), "^max_factor must be an integer >= 1, got 0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
