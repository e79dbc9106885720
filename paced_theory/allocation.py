"""Which problems deserve more rollouts: the optimal adaptive allocation of a rollout budget, and what it saves against K rollouts for all.

With posterior weights v(k, n) = E[w(p) | k of n] under the law of p, efficiency is E[v^2] / E[w^2]: another rollout on a problem in state
(k, n) is worth Var[v(k', n+1) | k, n]. Charging a price per rollout separates the problems: each is an optimal stopping problem on the
states (k, n), solved exactly by backward induction. Sweeping the price gives the best efficiency for every expected budget.

Source: ours.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paced_theory._checks import FloatArray, as_numpy, check_counts, check_int, check_nonnegative, check_positive, check_prior
from paced_theory._special import log_beta_ratio
from paced_theory.estimation import efficiency_table, posterior_weight


def rollout_value(k: ArrayLike, n: ArrayLike, alpha: float = 1.0, beta: float = 1.0, prior: tuple[float, float] = (1.0, 1.0)) -> FloatArray:
    """The gain in E[v^2] from one more rollout in state (k, n): Var[v(k', n+1) | k, n], v the posterior weight, n >= 1.

    Success has predictive probability (k+a)/(n+a+b). ValueError for impossible counts, exponents or priors.
    """
    passes, rollouts = check_counts(k, n, "n")
    a, b = check_prior(prior)
    success = (passes + a) / (rollouts + a + b)
    difference = posterior_weight(passes + 1, rollouts + 1, alpha, beta, prior) - posterior_weight(passes, rollouts + 1, alpha, beta, prior)
    return as_numpy(np.asarray(success * (1.0 - success) * difference**2))


@dataclass(frozen=True)
class AllocationPolicy:
    """An optimal stopping rule and its exact performance under the law of p it was made for.

    `proceed[n, k]` says whether a problem with k passes in n rollouts gets another one (False where k > n); shape (max + 1, max + 1).
    `expected_rollouts` is the mean number of rollouts a problem gets, `efficiency` that of its posterior weights against the oracle.
    """

    price: float
    proceed: np.ndarray[tuple[int, int], np.dtype[np.bool_]]
    expected_rollouts: float
    efficiency: float


@lru_cache(maxsize=8)  # a sweep over prices asks for the same table hundreds of times
def _state_weights(maximum: int, alpha: float, beta: float, prior: tuple[float, float]) -> FloatArray:
    """v(k, n) at [n, k] for 0 <= k <= n <= maximum; the entries k > n are unused and 0."""
    a, b = prior
    n, k = np.tril_indices(maximum + 1)
    table = np.zeros((maximum + 1, maximum + 1))
    table[n, k] = np.exp(log_beta_ratio(k + a, n - k + b, alpha, beta))
    table.flags.writeable = False
    return table


def allocation_policy(
    price: float, max_rollouts: int, alpha: float = 1.0, beta: float = 1.0, prior: tuple[float, float] = (1.0, 1.0), *, first: int = 0
) -> AllocationPolicy:
    """The stopping rule that maximises E[v^2] / E[w^2] - price * E[rollouts], at least `first` and at most `max_rollouts` a problem.

    Backward induction on V(k, n) = max(v^2, E[V(k', n+1)] - price); ties stop. ValueError if price < 0, max_rollouts < 1, or first is not
    in 0..max_rollouts.
    """
    price, maximum = check_nonnegative("price", price), check_int("max_rollouts", max_rollouts, 1)
    if check_int("first", first, 0) > maximum:
        raise ValueError(f"first must be at most max_rollouts = {maximum}, got {first}")
    alpha, beta = check_nonnegative("alpha", alpha), check_nonnegative("beta", beta)
    a, b = check_prior(prior)
    oracle = float(np.exp(log_beta_ratio(a, b, 2 * alpha, 2 * beta)))
    stop_value = _state_weights(maximum, alpha, beta, (a, b)) ** 2 / oracle
    proceed = np.zeros((maximum + 1, maximum + 1), dtype=np.bool_)
    value = stop_value[maximum]
    for n in range(maximum - 1, -1, -1):
        success = (np.arange(n + 1) + a) / (n + a + b)
        continuing = success * value[1 : n + 2] + (1.0 - success) * value[: n + 1] - price
        # A rollout of no value at price 0 must not be taken because of rounding.
        proceed[n, : n + 1] = (continuing > stop_value[n, : n + 1] * (1.0 + 1e-14)) | (n < first)
        value = np.where(proceed[n, : n + 1], continuing, stop_value[n, : n + 1])
    rollouts, reached = rule_performance(proceed, stop_value, (a, b))
    return AllocationPolicy(price, proceed, rollouts, reached)


def rule_performance(proceed: NDArray[np.bool_] | FloatArray, stop_value: FloatArray, prior: tuple[float, float]) -> tuple[float, float]:
    """Expected rollouts and expected stopping value of a rule, by pushing the law of the state (k, n) forward from (0, 0).

    proceed, stop_value: [n, k], shape (max + 1, max + 1); the probability of another rollout, which is 0 in the last row, and the value.
    """
    a, b = prior
    maximum = proceed.shape[0] - 1
    mass = np.ones(1)
    rollouts = reached = 0.0
    for n in range(maximum + 1):
        going = mass * proceed[n, : n + 1]
        reached += float((mass - going) @ stop_value[n, : n + 1])
        rollouts += float(going.sum())
        success = (np.arange(n + 1) + a) / (n + a + b)
        mass = np.concatenate([going * (1.0 - success), [0.0]])
        mass[1:] += going * success
    return rollouts, min(1.0, reached)


def best_policy(
    budget: float, max_rollouts: int, alpha: float = 1.0, beta: float = 1.0, prior: tuple[float, float] = (1.0, 1.0)
) -> AllocationPolicy:
    """The optimal rule of the highest expected number of rollouts that does not exceed `budget` rollouts per problem.

    Found by bisection on the price; expected rollouts are a step function of it, so the rule may use slightly less than the budget.
    ValueError if budget <= 0.
    """
    budget = check_positive("budget", budget)
    free = allocation_policy(0.0, max_rollouts, alpha, beta, prior)
    if free.expected_rollouts <= budget:
        return free
    low, high = 0.0, 1.0  # at price 1 nothing is bought: efficiency itself cannot exceed 1
    best = allocation_policy(high, max_rollouts, alpha, beta, prior)
    for _ in range(60):
        middle = 0.5 * (low + high) if low > 0 else high / 8.0
        policy = allocation_policy(middle, max_rollouts, alpha, beta, prior)
        if policy.expected_rollouts <= budget:
            best, high = policy, middle
        else:
            low = middle
        if high - low <= 1e-9 * high:
            break
    return best


class AllocationComparison(NamedTuple):
    """K rollouts for every problem against adaptive allocation, under one law of p.

    `saving` is 1 - (adaptive rollouts needed for the uniform efficiency) / K.
    """

    K: int
    uniform_efficiency: float
    adaptive_efficiency: float
    adaptive_rollouts: float
    saving: float


def compare_allocation(
    K: int, *, max_factor: int = 8, alpha: float = 1.0, beta: float = 1.0, prior: tuple[float, float] = (1.0, 1.0)
) -> AllocationComparison:
    """What adaptive allocation brings at an average of K rollouts, and how many it needs to equal K for all.

    Between neighbouring optimal rules efficiency and rollouts are interpolated linearly: mixing them at random attains it. `max_factor` * K
    is the most one problem may get. ValueError for K < 1 or max_factor < 1.
    """
    K, maximum = check_int("K", K, 1), K * check_int("max_factor", max_factor, 1)
    check_prior(prior)
    uniform = efficiency_table(K, prior, alpha=alpha, beta=beta, assumed=prior)[0].posterior
    frontier = _frontier(maximum, alpha, beta, prior)
    rollouts, reached = frontier[:, 0], frontier[:, 1]
    needed = float(np.interp(uniform, reached, rollouts))
    return AllocationComparison(K, uniform, float(np.interp(K, rollouts, reached)), needed, 1.0 - needed / K)


def _frontier(maximum: int, alpha: float, beta: float, prior: tuple[float, float], prices: int = 200) -> FloatArray:
    """(expected rollouts, efficiency) of the optimal rules over a grid of prices, in increasing order, one row a distinct rule."""
    points = [allocation_policy(price, maximum, alpha, beta, prior) for price in np.geomspace(1.0, 1e-8, prices)]
    points.append(allocation_policy(0.0, maximum, alpha, beta, prior))
    return np.unique([(policy.expected_rollouts, policy.efficiency) for policy in points], axis=0)
