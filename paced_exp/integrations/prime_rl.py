"""PACED by sampling, in prime-rl: pools of tasks by the passes of their latest group, each with the weight of its pass rate.

prime-rl's sampler of the type `difficulty_pool` draws a task with a chance in proportion to its pool's weight; the pool is the first whose
`threshold` is not below the mean reward of the task's latest group. Drawn in proportion to w, a problem's loss counts w times in expectation,
without a line of code. A task that has not been rolled out yet has the weight 1 there, so pools are scaled to mean one over the counts.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from paced_exp.core.errors import UserError
from paced_exp.data.problem_tables import Counts
from paced_exp.weighting import ESTIMATES, Posterior, Weighting
from paced_theory.estimation import fit_beta_prior


def pool_weights(weighting: Weighting, counts: Counts, K: int) -> np.ndarray:
    """The weight of a problem with k = 0, ..., K passes of K, (K+1,), of mean one over the problems of `counts`.

    The prior of empirical Bayes is fitted to `counts`, whose rollouts a problem may be others than K. Raises `UserError` for K < 1 and where
    `weigh` does.
    """
    if K < 1:
        raise UserError(f"`K` {K} must be at least 1: it is the group size of the training")
    kernel, estimator = weighting.kernel(counts.K), ESTIMATES[weighting.estimate]
    own = estimator(kernel, counts.k, counts.K)  # raises where no prior can be fitted
    if weighting.needs_pass_rates and weighting.estimate == "empirical_bayes":
        estimator = Posterior(prior=fit_beta_prior(counts.k, counts.K))
    if own.max() == 0:
        raise UserError(f"all {len(own)} problems have weight zero; take `estimate` posterior, more rollouts, or other problems")
    return np.asarray(estimator(kernel, np.arange(K + 1), np.full(K + 1, K)) / own.mean())


def pools_toml(weighting: Weighting, counts: Counts, K: int, seed: int = 42) -> str:
    """The sampler's tables for K + 1 pools, to be put below one's own [[orchestrator.train.source]]. Raises as `pool_weights` does.

    A pool's threshold lies halfway to the next count, so that rounding, and groups some of whose rollouts failed, land in the nearest pool.
    """
    weights = pool_weights(weighting, counts, K)
    named = f", {weighting.estimate} estimate" if weighting.needs_pass_rates else ""
    lines = [
        f"# PACED by sampling: a task is drawn in proportion to w of its latest group's passes. {weighting.kernel(counts.K).name}{named},",
        f"# from the counts of {len(counts.problem_id)} problems. Put this below your [[orchestrator.train.source]], whose group_size is {K}.",
        "[orchestrator.train.source.curriculum.sampler]",
        'type = "difficulty_pool"',
        f"seed = {seed}",
    ]
    digits = len(str(K))
    for k, weight in enumerate(weights.tolist()):
        threshold = 1.0 if k == K else (k + 0.5) / K
        lines += [
            "",
            f"[orchestrator.train.source.curriculum.sampler.pools.k{k:0{digits}d}]",
            f"threshold = {threshold!r}",
            f"weight = {weight!r}",
        ]
    return "\n".join(lines) + "\n"


def long_run(weights: ArrayLike, p: ArrayLike) -> np.ndarray:
    """How often a task of pass rate p is drawn in the long run, relative to a task whose pools all have the weight 1.

    A task stays in its pool until it is drawn, 1 / w_k draws on average, and then moves to k of K with the chance Binomial(k; K, p). So it is
    drawn in proportion to 1 / E[1 / w_k], the harmonic mean over its pools: less than E[w_k] wherever the counts vary, and never again where a
    pool of weight zero can be reached. weights (K+1,), p (n,); returns (n,). Source: ours (a renewal argument).
    """
    w = np.asarray(weights, dtype=float)
    K = w.size - 1
    mass = binom.pmf(np.arange(K + 1), K, np.atleast_1d(np.asarray(p, dtype=float))[:, None])
    waits = np.where(w > 0, 1 / np.where(w > 0, w, 1), np.inf)
    return np.asarray(1 / np.where(mass > 0, mass * np.where(mass > 0, waits, 0), 0).sum(1))


def lost_pools(weights: np.ndarray) -> list[int]:
    """The counts k whose pool is never drawn from: a task that falls there once stays there."""
    return np.flatnonzero(weights == 0).tolist()
