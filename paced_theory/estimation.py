"""Weights estimated from k passes in K rollouts, and what the estimation costs, by exact binomial sums.

The oracle weight is w(p) = p^alpha (1-p)^beta. Only k, the number of the K rollouts graded correct, is seen; k given p is binomial(K, p).
A law of pass rates is either a pair (a, b), the Beta(a, b) law, or a `DiscreteLaw`.

Source: PACED weighs by the plug-in estimate k/K. The unbiased, posterior and empirical-Bayes weights and the efficiencies are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln, digamma, xlog1py, xlogy

from paced_theory._checks import (
    FloatArray,
    IntArray,
    as_numpy,
    check_array,
    check_counts,
    check_int,
    check_nonnegative,
    check_pass_rate,
    check_prior,
)
from paced_theory._special import bernstein, log_beta_ratio
from paced_theory.kernels import BetaKernel

#: Bounds of a + b in `fit_beta_prior`: below, the law is all-or-nothing; above, it cannot be told from a point mass.
CONCENTRATION_BOUNDS = (1e-3, 1e6)


@dataclass(frozen=True)
class DiscreteLaw:
    """A law of pass rates with finitely many atoms: `pass_rates` (m,), their `probabilities` (m,) summing to 1 (default: equal)."""

    pass_rates: FloatArray
    probabilities: FloatArray

    def __init__(self, pass_rates: ArrayLike, probabilities: ArrayLike | None = None) -> None:
        atoms = check_array("pass_rates", pass_rates, ndim=1)
        check_pass_rate("pass_rates", atoms)
        masses = np.full(atoms.size, 1.0 / atoms.size) if probabilities is None else check_array("probabilities", probabilities, ndim=1)
        if masses.shape != atoms.shape or masses.min() < 0 or abs(masses.sum() - 1.0) > 1e-9:
            received = f"{masses.size} with minimum {masses.min():g} and sum {masses.sum():g}"
            raise ValueError(f"probabilities must be {atoms.size} numbers >= 0 that sum to 1, got {received}")
        object.__setattr__(self, "pass_rates", atoms)
        object.__setattr__(self, "probabilities", masses)


Law = tuple[float, float] | DiscreteLaw


def plugin_weight(k: ArrayLike, K: ArrayLike, alpha: float = 1.0, beta: float = 1.0) -> FloatArray:
    """The weight at the observed rate, (k/K)^alpha (1-k/K)^beta: PACED's own estimate, exactly 0 at k = 0 (alpha > 0) and k = K (beta > 0).

    `k` and `K` broadcast. ValueError for counts outside 0 <= k <= K, K >= 1, or a negative exponent.
    """
    return BetaKernel(alpha, beta).at_counts(k, K)


def unbiased_weight(k: ArrayLike, K: ArrayLike, alpha: int = 1, beta: int = 1) -> FloatArray:
    """The one function of k with E[weight | p] = p^alpha (1-p)^beta for every p: C(K-alpha-beta, k-alpha) / C(K, k).

    E[f(k) | p] is a polynomial in p of degree at most K, so it exists exactly when alpha and beta are integers with alpha + beta <= K, and
    is unique because Bernstein polynomials are independent. For alpha = beta = 1 it is K/(K-1) p_hat (1-p_hat). Source: ours.

    ValueError when no unbiased estimate exists, with the reason.
    """
    passes, rollouts = check_counts(k, K)
    for name, exponent in (("alpha", alpha), ("beta", beta)):
        if check_nonnegative(name, exponent) != int(exponent):
            raise ValueError(f"{name} must be an integer for an unbiased weight, got {exponent!r}: p^{exponent:g} is not a polynomial in p")
    alpha, beta = int(alpha), int(beta)
    if rollouts.size and rollouts.min() < alpha + beta:
        reason = "E[f(k) | p] is a polynomial of degree K at most"
        raise ValueError(f"K must be >= alpha + beta = {alpha + beta} for an unbiased weight, got {rollouts.min()}: {reason}")
    weight = np.ones(passes.shape)
    for i in range(alpha):
        weight = weight * np.maximum(passes - i, 0) / (rollouts - i)
    for j in range(beta):
        weight = weight * np.maximum(rollouts - passes - j, 0) / (rollouts - alpha - j)
    return as_numpy(weight)


def posterior_weight(
    k: ArrayLike, K: ArrayLike, alpha: float = 1.0, beta: float = 1.0, prior: tuple[float, float] = (1.0, 1.0)
) -> FloatArray:
    """E[p^alpha (1-p)^beta | k of K] under a Beta(a, b) prior: B(k+a+alpha, K-k+b+beta) / B(k+a, K-k+b).

    Among all functions of k it has the highest efficiency when the prior is the law of p. For alpha = beta = 1 and a uniform prior it is
    (k+1)(K-k+1) / ((K+2)(K+3)): never 0. `k` and `K` broadcast. Source: ours. ValueError for impossible counts, exponents or priors.

    >>> posterior_weight([0, 1, 2, 4], 4).round(6).tolist()
    [0.119048, 0.190476, 0.214286, 0.119048]
    """
    return BetaKernel(alpha, beta).posterior_mean(k, K, prior)


def fit_beta_prior(k: ArrayLike, K: ArrayLike) -> tuple[float, float]:
    """Empirical Bayes: the Beta(a, b) law of pass rates of highest beta-binomial likelihood for all problems' counts.

    Maximises sum_i log B(k_i+a, K_i-k_i+b) - log B(a, b) over the mean a/(a+b) and the concentration a+b, the latter within
    `CONCENTRATION_BOUNDS`: at the lower bound every problem looks all-or-nothing, at the upper one all pass rates look equal. `k` and `K`
    broadcast to one count per problem. Source: ours (standard beta-binomial maximum likelihood).

    ValueError where the likelihood has no single maximum: no problem with K >= 2, or all rollouts alike.
    """
    passes, rollouts = check_counts(k, K)
    if passes.size == 0 or rollouts.max() < 2:
        raise ValueError("K must be >= 2 for at least one problem: single rollouts say nothing about how pass rates spread")
    if passes.sum() in (0, rollouts.sum()):
        seen = f"{int(passes.sum())} passes in {int(rollouts.sum())} rollouts"
        raise ValueError(f"k must contain passes and failures to fit a prior, got {seen}")
    pairs, counts = np.unique(np.stack([passes.ravel(), rollouts.ravel()]), axis=1, return_counts=True)
    return _likeliest_beta(pairs[0], pairs[1] - pairs[0], counts)


def _likeliest_beta(k_u: IntArray, f_u: IntArray, counts: FloatArray | IntArray) -> tuple[float, float]:
    """The Beta law of highest likelihood for `counts` problems, which may be masses, with `k_u` passes and `f_u` failures each."""
    from scipy.optimize import minimize

    total = counts.sum()

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        """Mean negative log likelihood and its gradient in (logit of the mean, log of the concentration)."""
        mean, size = 1.0 / (1.0 + np.exp(-parameters[0])), np.exp(parameters[1])
        a, b = size * mean, size / (1.0 + np.exp(parameters[0]))
        value = counts @ (betaln(k_u + a, f_u + b) - betaln(a, b))
        common = digamma(a + b) - digamma(k_u + f_u + a + b)
        by_a = counts @ (digamma(k_u + a) - digamma(a) + common)
        by_b = counts @ (digamma(f_u + b) - digamma(b) + common)
        slope = np.array([(by_a - by_b) * a * b / (a + b), by_a * a + by_b * b])
        return -value / total, -slope / total

    mean = counts @ k_u / (counts @ (k_u + f_u))
    low, high = np.log(CONCENTRATION_BOUNDS)
    start = np.array([np.log(mean / (1.0 - mean)), np.log(2.0)])
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-40.0, 40.0), (low, high)], options={"ftol": 1e-15, "gtol": 1e-10})
    logit, log_size = result.x
    return float(np.exp(log_size) / (1.0 + np.exp(-logit))), float(np.exp(log_size) / (1.0 + np.exp(logit)))


def empirical_bayes_weight(k: ArrayLike, K: ArrayLike, alpha: float = 1.0, beta: float = 1.0) -> FloatArray:
    """The posterior weight under the prior that `fit_beta_prior` finds in the same counts, one problem an entry."""
    return posterior_weight(k, K, alpha, beta, fit_beta_prior(k, K))


def count_moments(K: int, law: Law = (1.0, 1.0), order_p: float = 0.0, order_q: float = 0.0) -> FloatArray:
    """E[p^order_p (1-p)^order_q 1{k passes}] for k = 0..K, shape (K + 1,): exact for a Beta law, a finite sum for a discrete one.

    With both orders 0 it is the law of k. Every expectation in this module is a linear combination of these.
    """
    K = check_int("K", K, 1)
    i, j = check_nonnegative("order_p", order_p), check_nonnegative("order_q", order_q)
    k = np.arange(K + 1)
    log_choose = -np.log(K + 1) - betaln(k + 1, K - k + 1)
    if isinstance(law, DiscreteLaw):
        p = law.pass_rates[:, None]
        return np.asarray(law.probabilities @ np.exp(log_choose + xlogy(k + i, p) + xlog1py(K - k + j, -p)))
    a, b = check_prior(law, "law")
    return np.asarray(np.exp(log_choose + betaln(k + i + a, K - k + j + b) - betaln(a, b)))


def _oracle_second_moment(law: Law, alpha: float, beta: float) -> float:
    """E[w(p)^2] > 0."""
    if isinstance(law, DiscreteLaw):
        second = float(law.probabilities @ BetaKernel(2 * alpha, 2 * beta)(law.pass_rates))
    else:
        second = float(np.exp(log_beta_ratio(*check_prior(law, "law"), 2 * alpha, 2 * beta)))
    if second == 0:
        raise ValueError(f"law must give the oracle weight a mean square above 0 (in doubles), got 0 for alpha={alpha:g}, beta={beta:g}")
    return second


def _check_weights_by_k(weights_by_k: ArrayLike, K: int | None = None) -> FloatArray:
    weights = check_array("weights_by_k", weights_by_k, ndim=1, min_size=2)
    if K is not None and weights.size != check_int("K", K, 1) + 1:
        raise ValueError(f"weights_by_k must have K + 1 = {K + 1} entries, one for each k = 0..K, got {weights.size}")
    return weights


def expected_weight(weights_by_k: ArrayLike, p: ArrayLike) -> FloatArray:
    """E[w_k | p] = sum_k C(K, k) p^k (1-p)^(K-k) w_k, same shape as `p`; `weights_by_k` is (K + 1,)."""
    weights, rate = _check_weights_by_k(weights_by_k), check_pass_rate("p", p)
    return as_numpy(bernstein(weights, rate))


def weight_bias(weights_by_k: ArrayLike, p: ArrayLike, alpha: float = 1.0, beta: float = 1.0) -> FloatArray:
    """E[w_k | p] - p^alpha (1-p)^beta, exact, same shape as `p`. For the plug-in weight at alpha = beta = 1 it is -p(1-p)/K."""
    return as_numpy(np.asarray(expected_weight(weights_by_k, p) - BetaKernel(alpha, beta)(p)))


def weight_variance(weights_by_k: ArrayLike, p: ArrayLike) -> FloatArray:
    """Var[w_k | p], exact, same shape as `p`; summed as squared deviations, so never negative."""
    weights, rate = _check_weights_by_k(weights_by_k), check_pass_rate("p", p)
    mean = bernstein(weights, rate)
    K = weights.size - 1
    k = np.arange(K + 1)
    log_choose = -np.log(K + 1) - betaln(k + 1, K - k + 1)
    mass = np.exp(log_choose + xlogy(k, rate[..., None]) + xlog1py(K - k, -rate[..., None]))
    return as_numpy(np.asarray(np.sum(mass * (weights - mean[..., None]) ** 2, axis=-1)))


def efficiency(weights_by_k: ArrayLike, K: int, law: Law = (1.0, 1.0), *, alpha: float = 1.0, beta: float = 1.0) -> float:
    """E[w_k w(p)]^2 / (E[w_k^2] E[w(p)^2]) over p ~ `law`, k ~ binomial(K, p): the share of the oracle's progress kept, in [0, 1].

    Here w(p) = p^alpha (1-p)^beta is optimal and second moments of the gradient are equal across pass rates. Scale invariant; 1 only if w_k
    is proportional to w(p) almost surely. ValueError if every weight is 0 or the oracle's is.
    """
    weights = _check_weights_by_k(weights_by_k, K)
    alpha, beta = check_nonnegative("alpha", alpha), check_nonnegative("beta", beta)
    largest = np.abs(weights).max()
    if largest == 0:
        raise ValueError("weights_by_k must have a nonzero entry, got only zeros: their efficiency is undefined")
    weights = weights / largest  # the scale cancels; removing it first avoids overflow and underflow of squares
    second = float(weights**2 @ count_moments(K, law))
    if second == 0:
        raise ValueError("law must give weights_by_k a positive chance to be nonzero, got a mean square of 0: efficiency is undefined")
    oracle = _oracle_second_moment(law, alpha, beta)
    return min(1.0, float(weights @ count_moments(K, law, alpha, beta)) ** 2 / (second * oracle))


class EfficiencyRow(NamedTuple):
    """Efficiencies at one K.

    NaN for the plug-in where all its weights are 0 (K = 1 with both exponents positive), and for empirical Bayes where counts fit no prior
    (K = 1, or all rollouts alike).
    """

    K: int
    plugin: float
    posterior: float
    best: float
    empirical_bayes: float


def efficiency_table(
    K: int | Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    law: Law = (1.0, 1.0),
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    assumed: tuple[float, float] = (1.0, 1.0),
) -> list[EfficiencyRow]:
    """Efficiency of the plug-in, of the posterior under the prior `assumed`, of the best function of k, and of empirical Bayes, for each K.

    The best function of k is E[w(p) | k] under the true law; it is the posterior weight when `assumed` is the law. Empirical Bayes is the
    posterior weight under the Beta prior that the counts of very many problems fit: the law itself if that is a Beta law, so that it is the
    best function of k then, and the likeliest Beta law if `law` is discrete.

    With uniform pass rates the posterior under a uniform prior is better at K = 4 than the plug-in at K = 8. Under the law measured on the
    lab's model, Beta(0.35, 0.43), it is not, and empirical Bayes is the best of the three at K = 2 to 16.

    >>> [round(x, 3) for x in efficiency_table(4)[0][1:]]
    [0.706, 0.881, 0.881, 0.881]
    >>> [[round(x, 2) for x in row[1:]] for row in efficiency_table([4, 8], law=(0.35, 0.43))]
    [[0.65, 0.72, 0.77, 0.77], [0.82, 0.82, 0.86, 0.86]]
    """
    check_prior(assumed, "assumed")
    rows = []
    for rollouts in np.atleast_1d(K) if isinstance(K, np.ndarray) else K if isinstance(K, Sequence) else [K]:
        n = check_int("K", rollouts, 1)
        k = np.arange(n + 1)
        plugin = plugin_weight(k, n, alpha, beta)
        mass, joint = count_moments(n, law), count_moments(n, law, alpha, beta)
        best = float(np.sum(joint[mass > 0] ** 2 / mass[mass > 0])) / _oracle_second_moment(law, alpha, beta)
        prior = _prior_from_many(n, law, mass)
        rows.append(
            EfficiencyRow(
                K=n,
                plugin=efficiency(plugin, n, law, alpha=alpha, beta=beta) if plugin.any() else float("nan"),
                posterior=efficiency(posterior_weight(k, n, alpha, beta, assumed), n, law, alpha=alpha, beta=beta),
                best=min(1.0, best),
                empirical_bayes=float("nan")
                if prior is None
                else efficiency(posterior_weight(k, n, alpha, beta, prior), n, law, alpha=alpha, beta=beta),
            )
        )
    return rows


def _prior_from_many(K: int, law: Law, mass: FloatArray) -> tuple[float, float] | None:
    """The prior that `fit_beta_prior` finds in the counts of very many problems, whose shares are `mass` (K + 1,); None where it finds none."""
    alike = not mass[1:].any() or not mass[:-1].any()
    if K == 1 or alike:
        return None
    k = np.arange(K + 1)
    return _likeliest_beta(k, K - k, mass) if isinstance(law, DiscreteLaw) else law
