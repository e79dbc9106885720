"""When a problem has been rolled out often enough: rules under which weights are as exact as from K rollouts for every problem.

A rule says in each state, k passes in n rollouts, with what probability the problem gets another one. Weights are posterior means v(k, n) = E[w(p) | k of n]
under the law of p. Two meanings of "as exact":

- `mean`: the same mean squared error E[(v - w)^2]. `allocation.allocation_policy` has the best rules there are for it.
- `largest`: no weight has a larger posterior standard deviation than the least certain one of K rollouts for all.

What stopping early does to estimates. A path of k passes in n rollouts has probability p^k (1-p)^(n-k) whatever rule ended it. So the posterior of
p is that of a fixed n, and the likelihood that `fit_beta_prior` maximises is the same up to a constant. The average over problems of the plug-in
k/n is biased, since a rule stops on purpose where k is extreme. `unbiased_rate` has no bias at any p.

Source: ours; the unbiased rate is that of Girshick, Mosteller and Savage (1946).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from paced_theory._checks import (
    FloatArray,
    IntArray,
    as_numpy,
    check_choice,
    check_counts,
    check_int,
    check_nonnegative,
    check_pass_rate,
    check_prior,
)
from paced_theory._special import log_beta_ratio
from paced_theory.allocation import allocation_policy, rule_performance
from paced_theory.estimation import efficiency_table

Criterion = Literal["mean", "largest"]

_WIDE = 256  # up to this K a problem may get 4 K rollouts; above, 2 K. In all laws tried no problem was worth more than 2 K.


def weight_deviation(
    k: ArrayLike, n: ArrayLike, alpha: float = 1.0, beta: float = 1.0, prior: tuple[float, float] = (1.0, 1.0)
) -> FloatArray:
    """The posterior standard deviation of w(p) = p^alpha (1-p)^beta after k passes in n rollouts.

    ValueError for impossible counts, exponents or priors.
    """
    passes, rollouts = check_counts(k, n, "n")
    alpha, beta = check_nonnegative("alpha", alpha), check_nonnegative("beta", beta)
    return as_numpy(_deviation(passes, rollouts, alpha, beta, check_prior(prior)))


def _deviation(k: IntArray, n: IntArray, alpha: float, beta: float, prior: tuple[float, float]) -> FloatArray:
    passed, failed = k + prior[0], n - k + prior[1]
    first, second = log_beta_ratio(passed, failed, alpha, beta), log_beta_ratio(passed, failed, 2.0 * alpha, 2.0 * beta)
    # E[w^2] - E[w]^2 = E[w]^2 (E[w^2] / E[w]^2 - 1), without cancellation where the two are close.
    return np.asarray(np.exp(first) * np.sqrt(np.maximum(np.expm1(second - 2.0 * first), 0.0)))


@dataclass(frozen=True)
class StoppingRule:
    """A stopping rule and its exact performance under the law of p that it was made for.

    proceed: [n, k] is the probability that a problem with k passes in n rollouts gets another one (0 where k > n); shape (max + 1, max + 1).
    It is 0 or 1, except in the state or two in which the rule must divide problems to be just as exact as was asked.
    expected_rollouts: mean number of rollouts a problem. efficiency: E[v^2] / E[w^2]; the mean squared error is (1 - efficiency) E[w^2].
    deviation: the largest posterior standard deviation of a weight at which the rule stops.
    """

    proceed: FloatArray
    expected_rollouts: float
    efficiency: float
    deviation: float


def as_exact_as(
    K: int,
    criterion: Criterion,
    *,
    first: int = 0,
    alpha: float = 1.0,
    beta: float = 1.0,
    prior: tuple[float, float] = (1.0, 1.0),
) -> StoppingRule:
    """The rule under which weights are as exact as those of K rollouts for every problem; at least `first` <= K rollouts a problem.

    `mean`: of all rules with the mean squared error of K for all, the one of fewest rollouts; a problem may get 4 K (2 K for K > 256).
    `largest`: stops where the posterior deviation is at most the largest after K rollouts, so after K at the latest.
    ValueError for K < 1, another criterion, or first outside 0..K.
    """
    K, first = check_int("K", K, 1), check_int("first", first, 0)
    alpha, beta = check_nonnegative("alpha", alpha), check_nonnegative("beta", beta)
    prior = check_prior(prior)
    if first > K:
        raise ValueError(f"first must be at most K = {K}, got {first}")
    check_choice("criterion", criterion, ("mean", "largest"))
    maximum = K if criterion == "largest" else K * (4 if K <= _WIDE else 2)
    n, k = np.tril_indices(maximum + 1)
    value = np.zeros((maximum + 1, maximum + 1))  # of stopping, E[v^2] / E[w^2]
    value[n, k] = np.exp(
        2.0 * log_beta_ratio(k + prior[0], n - k + prior[1], alpha, beta) - log_beta_ratio(*prior, 2.0 * alpha, 2.0 * beta)
    )
    deviation = _deviation(k, n, alpha, beta, prior)
    if criterion == "mean":
        proceed = _cheapest(K, maximum, first, alpha, beta, prior, value)
    else:
        proceed = np.zeros(value.shape)
        proceed[n, k] = ((deviation > deviation[n == K].max() * (1.0 + 1e-12)) | (n < first)) & (n < K)
    rollouts, efficiency = rule_performance(proceed, value, prior)
    stops = _pushed(proceed, 0.5, 0.5)[1][n, k] > 0
    return StoppingRule(proceed, rollouts, efficiency, float(deviation[stops].max()))


def _cheapest(K: int, maximum: int, first: int, alpha: float, beta: float, prior: tuple[float, float], value: FloatArray) -> FloatArray:
    """Of the rules as efficient as K rollouts for all, the one of fewest rollouts.

    Bisection on the price finds the two neighbouring optimal rules, one too cheap and one too good. A problem in a state where they differ goes
    on with the probability at which the efficiency is met; a second bisection finds it.
    """
    wanted = efficiency_table(K, prior, alpha=alpha, beta=beta, assumed=prior)[0].posterior

    def priced(price: float) -> FloatArray:
        return allocation_policy(price, maximum, alpha, beta, prior, first=first).proceed.astype(np.float64)

    low, high = 0.0, 1.0
    good, cheap = priced(low), priced(high)
    if rule_performance(cheap, value, prior)[1] >= wanted:
        return cheap
    for _ in range(60):
        middle = 0.5 * (low + high) if low > 0 else high / 8.0
        rule = priced(middle)
        if rule_performance(rule, value, prior)[1] >= wanted:
            good, low = rule, middle
        else:
            cheap, high = rule, middle
        if high - low <= 1e-9 * high or high < 1e-15:
            break
    share_low, share_high = 0.0, 1.0
    for _ in range(50):
        share = 0.5 * (share_low + share_high)
        if rule_performance(cheap + share * (good - cheap), value, prior)[1] >= wanted:
            share_high = share
        else:
            share_low = share
    return cheap + share_high * (good - cheap)


def stopping_law(proceed: FloatArray, p: float) -> FloatArray:
    """[n, k]: the probability that a problem of pass rate `p` stops after k passes in n rollouts; shape of `proceed`, sum 1.

    ValueError for p outside [0, 1], or a rule that never ends.
    """
    p = float(check_pass_rate("p", p))
    return _pushed(proceed, 1.0 - p, p)[1]


def unbiased_rate(proceed: FloatArray) -> FloatArray:
    """[n, k]: the estimate of the pass rate with expectation p at every p; NaN in states where the rule does not stop.

    It is the share of the paths to (k, n) that begin with a pass: the mean of the first rollout given all that is known. With a fixed n it is
    k/n. ValueError for a rule that never ends or stops before the first rollout.
    """
    # Path counts are scaled by 2^-n, which keeps them in range and leaves their ratio.
    reached, stopped = _pushed(proceed, 0.5, 0.5)
    if proceed[0, 0] < 1:
        raise ValueError("proceed must ask for a first rollout of every problem; without it no estimate is unbiased")
    begun = np.zeros(proceed.shape)
    begun[1, 1] = 0.5
    for n in range(1, len(proceed) - 1):
        going = begun[n] * proceed[n]
        begun[n + 1] += 0.5 * going
        begun[n + 1, 1:] += 0.5 * going[:-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(stopped > 0, begun / reached, np.nan)


def _pushed(proceed: FloatArray, failure: float, success: float) -> tuple[FloatArray, FloatArray]:
    """The masses that reach each state, and that stop there, if a path is worth a factor a rollout."""
    if proceed.ndim != 2 or proceed.shape[0] != proceed.shape[1] or proceed[-1].any():
        raise ValueError(f"proceed must be a square table whose last row stops, got shape {proceed.shape}")
    reached = np.zeros(proceed.shape)
    reached[0, 0] = 1.0
    for n in range(len(proceed) - 1):
        going = reached[n] * proceed[n]
        reached[n + 1] += failure * going
        reached[n + 1, 1:] += success * going[:-1]
    return reached, reached * (1.0 - proceed)
