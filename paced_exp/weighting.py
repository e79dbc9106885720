"""The weight of each problem from its k passes in K rollouts: PACED's kernel and every scheme it is compared with.

Weights are normalised once, over the data set, to mean one. Dividing by a micro-batch's own sum instead would erase them: with one
problem in it the weight cancels. A problem of weight zero is not trained on, and counted.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from paced_exp.core.errors import UserError
from paced_theory.estimation import fit_beta_prior, plugin_weight, posterior_weight, unbiased_weight
from paced_theory.kernels import GaussianBump, HardFilter, SqrtVariance

METHODS = ("uniform", "paced", "hard_filter", "gaussian", "grpo")
ESTIMATES = ("plugin", "unbiased", "posterior", "empirical_bayes")


@dataclass(frozen=True)
class Weighting:
    """A weight scheme.

    method: `uniform` 1; `paced` p^alpha (1-p)^beta; `hard_filter` 1 on [lo, hi], else 0; `gaussian` exp(-(p-1/2)^2 / (2 sigma^2)), sigma
    matched to PACED's second moment when None; `grpo` sqrt(p(1-p)). estimate, for `paced` only: `plugin` puts in k/K (the paper's);
    `unbiased` has the kernel as its expectation (integer exponents); `posterior` is the kernel's mean under a uniform prior, never
    zero; `empirical_bayes` the same under the Beta prior fitted once to all counts. The other methods put in k/K. The default is the
    paper's, for its reproduction; for a training of your own docs/weights.md recommends `empirical_bayes`.

    Raises `UserError` for an unknown name, listing the known ones, and for parameters out of range.
    """

    method: str = "paced"
    alpha: float = 1.0
    beta: float = 1.0
    estimate: str = "plugin"
    lo: float = 0.2
    hi: float = 0.8
    sigma: float | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UserError(f"`method` {self.method} is not known; known: {', '.join(METHODS)}")
        if self.estimate not in ESTIMATES:
            raise UserError(f"`estimate` {self.estimate} is not known; known: {', '.join(ESTIMATES)}")
        for name in ("alpha", "beta", "estimate"):
            if self.method != "paced" and getattr(self, name) != getattr(Weighting, name):
                raise UserError(f"`{name}` {getattr(self, name)} only applies to `method` paced; leave it out with `method` {self.method}")
        for name in ("alpha", "beta"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"`{name}` {getattr(self, name)} must be a finite number of at least 0")
        if not 0 <= self.lo < self.hi <= 1:
            raise UserError(f"`lo` {self.lo} and `hi` {self.hi} must satisfy 0 <= lo < hi <= 1")
        if self.sigma is not None and not 0 < self.sigma < math.inf:
            raise UserError(f"`sigma` {self.sigma} must be positive and finite; leave it out to match PACED's spread")
        if (
            self.method == "paced"
            and self.estimate == "unbiased"
            and not (float(self.alpha).is_integer() and float(self.beta).is_integer())
        ):
            raise UserError(
                f"`estimate` unbiased needs whole `alpha` and `beta`, got {self.alpha:g} and {self.beta:g}: other powers of a pass rate "
                "have no unbiased estimate; take plugin or posterior"
            )

    @property
    def needs_pass_rates(self) -> bool:
        """Whether the weights depend on pass rates at all."""
        return self.method != "uniform"

    def _raw(self, k: np.ndarray, K: np.ndarray) -> np.ndarray:
        """w before normalising, float64 of the shape of `k` and `K`, which `weigh` has checked."""
        if self.method == "uniform":
            return np.ones(k.shape)
        if self.method == "paced":
            return self._paced(k, K)
        kernel = {"hard_filter": HardFilter(self.lo, self.hi), "gaussian": GaussianBump(sigma=self.sigma), "grpo": SqrtVariance()}[
            self.method
        ]
        return np.asarray(kernel(k / K))

    def _paced(self, k: np.ndarray, K: np.ndarray) -> np.ndarray:
        if self.estimate == "plugin":
            return plugin_weight(k, K, self.alpha, self.beta)
        if self.estimate == "posterior":
            return posterior_weight(k, K, self.alpha, self.beta)
        if self.estimate == "unbiased":
            if K.min() < self.alpha + self.beta:
                raise UserError(
                    f"`estimate` unbiased needs at least alpha + beta = {self.alpha + self.beta:g} rollouts a problem, got {K.min()}; raise `K`"
                )
            return unbiased_weight(k, K, int(self.alpha), int(self.beta))
        if K.max() < 2 or k.sum() in (0, K.sum()):
            raise UserError(
                f"`estimate` empirical_bayes cannot fit a prior to {int(k.sum())} passes in {int(K.sum())} rollouts, at most {K.max()} a problem: "
                "it needs passes, failures and K of at least 2; take posterior"
            )
        return posterior_weight(k, K, self.alpha, self.beta, fit_beta_prior(k, K))


@dataclass(frozen=True)
class Weights:
    """Weights of a data set of n problems: `values` (n,) float64 with mean one; zero means dropped."""

    values: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """Indices of the problems with a positive weight, ascending."""
        return np.flatnonzero(self.values)

    @property
    def in_training(self) -> np.ndarray:
        """Weights (n,) with mean one over the kept problems, for batches drawn from these only.

        With s = share kept, E over kept problems of s w_i l_i equals E over all of w_i l_i: dropping changes the cost, not the gradient.
        """
        return self.values * (len(self.kept) / len(self.values))

    def summary(self) -> dict[str, Any]:
        """Counts and spread for the record. effective_problems is Kish's (sum w)^2 / sum w^2."""
        kept = self.values[self.kept]
        return {
            "problems": len(self.values),
            "dropped": len(self.values) - len(kept),
            "dropped_share": 1 - len(kept) / len(self.values),
            "largest": float(kept.max()),
            "effective_problems": float(kept.sum() ** 2 / (kept**2).sum()),
        }


def normalised(raw: np.ndarray) -> Weights:
    """`raw` (n,) scaled to mean one over the data set.

    Raises `UserError` when every weight is zero, `ValueError` for weights that are negative or not finite.
    """
    raw = np.asarray(raw, dtype=np.float64)
    if raw.ndim != 1 or raw.size == 0 or not np.isfinite(raw).all() or raw.min() < 0:
        raise ValueError(f"raw must be a non-empty vector of finite numbers >= 0, got {raw!r}")
    if raw.max() == 0:
        raise UserError(
            f"all {raw.size} problems have weight zero, so there is nothing to train on: the student solves them always or never, or the filter "
            "keeps no pass rate that occurs, or responses are cut at `max_new_tokens` and count as failed; take `method` paced `estimate` "
            "posterior, more or longer rollouts, or other problems (pass rates that were made serve another `out` by `pass_rates`)"
        )
    # The largest first: the sum of tiny weights must not underflow.
    scaled = raw / raw.max()
    return Weights(scaled / scaled.mean())


def weigh(weighting: Weighting, k: np.ndarray, K: np.ndarray) -> Weights:
    """The weights of a data set from its counts k and K, both (n,): for a training and for a user's own loop alike.

    Raises `UserError` when all are zero or the estimate does not exist, `ValueError` for counts that cannot be.
    """
    k, K = np.asarray(k), np.asarray(K)
    if k.shape != K.shape or k.ndim != 1 or not ((k >= 0) & (k <= K) & (K >= 1) & (k % 1 == 0) & (K % 1 == 0)).all():
        raise ValueError(f"k and K must be vectors of whole numbers with 0 <= k <= K and K >= 1, got {k!r} and {K!r}")
    return normalised(weighting._raw(k, K))


def sample_in_proportion(weights: Weights, size: int, rng: np.random.Generator) -> np.ndarray:
    """`size` problem indices drawn with replacement with probability w_i / sum w (`weight_by` sampling`).

    Trained on with constant weight 1 they give the same expected gradient as every kept problem drawn alike and weighted.
    """
    return rng.choice(len(weights.values), size=size, p=weights.values / weights.values.sum())
