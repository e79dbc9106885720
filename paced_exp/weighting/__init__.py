"""The weight of each problem from its k passes in K rollouts: a kernel w(p), and an estimator of it from the counts.

    weights(k, K, kernel=Beta(1, 1), estimator="plugin").in_training

Weights are normalised once, to mean one over the data set. To divide by the sum over a micro-batch would erase them: with one problem in
it, the weight cancels. Problems of weight zero are counted, but not trained on. The import only loads numpy and scipy.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paced_exp.core.errors import UserError
from paced_exp.core.options import Options
from paced_exp.weighting.estimators import ESTIMATES, EmpiricalBayes, Estimator, PlugIn, Posterior, Unbiased, estimator_of
from paced_exp.weighting.kernels import GRPO, METHODS, Beta, Gaussian, Method, fitted, method_of, register
from paced_theory.kernel import FunctionKernel, Kernel
from paced_theory.kernels import Focal, HardFilter, MaxRL, Uniform

__all__ = [
    "ESTIMATES",
    "GRPO",
    "METHODS",
    "Beta",
    "EmpiricalBayes",
    "Estimator",
    "Focal",
    "FunctionKernel",
    "Gaussian",
    "HardFilter",
    "Kernel",
    "MaxRL",
    "Method",
    "PlugIn",
    "Posterior",
    "Unbiased",
    "Uniform",
    "Weighting",
    "Weights",
    "fitted",
    "normalised",
    "register",
    "sample_in_proportion",
    "weigh",
    "weights",
]


@dataclass(frozen=True)
class Weighting(Options):
    """A weight scheme as names and numbers, in the form that configurations and records hold.

    `method` names the kernel w(p): `uniform` 1; `paced` p^alpha (1-p)^beta; `hard_filter` 1 on [lo, hi], else 0; `gaussian`
    exp(-(p-1/2)^2 / (2 sigma^2)), by default with PACED's second moment; `grpo` sqrt(p(1-p)); `maxrl` (1-(1-p)^order) / p, by default with
    order K; `focal` (1-p)^gamma; `curve` straight lines between the points of `curve`. `estimate` says how w(p) is estimated from k of K, for
    every method except uniform: `plugin` is w(k/K), as in the paper; `unbiased` has expectation w(p); `posterior` is the mean of w(p) under a
    uniform prior; `empirical_bayes` is its mean under a Beta prior fitted to all counts. The default is the paper's;
    what trainings gained by each is in docs/weights.md.

    Raises `UserError` for an unknown name, for an option that is out of range or does not apply to the method, and for an unbiased estimate
    that does not exist.

    Attributes:
        method: weighting method: uniform, paced, hard_filter, gaussian, grpo, maxrl, focal or curve
        alpha: exponent of the pass rate in paced
        beta: exponent of the failure rate in paced
        estimate: how the weight is estimated from k of K: plugin (the paper's), unbiased (paced, maxrl and focal), posterior or empirical_bayes
        lo: smallest pass rate that the hard filter keeps
        hi: largest pass rate that the hard filter keeps
        sigma: width of the gaussian; matched to paced's spread when left out
        gamma: exponent of the failure rate in focal
        order: number of rollouts at which maxrl truncates the likelihood; K when left out
        curve: points of method curve, PASS_RATE:WEIGHT joined by commas, such as 0:0.2,0.5:1.5,1:0.4; a probe's record has measured points
    """

    method: str = "paced"
    alpha: float = 1.0
    beta: float = 1.0
    estimate: str = "plugin"
    lo: float = 0.2
    hi: float = 0.8
    sigma: float | None = None
    gamma: float = 2.0
    order: int | None = None
    curve: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        method = method_of(self.method)
        applicable = {"method", *method.options, *(("estimate",) if self.method != "uniform" else ())}
        estimator_of(self.estimate)
        for option in fields(Weighting):  # subclasses have more fields
            value = getattr(self, option.name)
            if option.name not in applicable and value != option.default:
                takers = [name for name, other in METHODS.items() if option.name in other.options]
                where = f"`method` {' and '.join(takers)}" if takers else "methods that need pass rates"
                shown = f"{value:g}" if isinstance(value, float) else value
                raise UserError(f"`{option.name}` {shown} only applies to {where}; leave it out with `method` {self.method}")
        for name in ("alpha", "beta", "gamma"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"`{name}` {getattr(self, name)} must be a finite number of at least 0")
        if not 0 <= self.lo < self.hi <= 1:
            raise UserError(f"`lo` {self.lo} and `hi` {self.hi} must satisfy 0 <= lo < hi <= 1")
        if self.sigma is not None and not 1e-6 <= self.sigma <= 1e6:
            raise UserError(f"`sigma` {self.sigma} must be positive, from 1e-6 to 1e6; leave it out to match PACED's spread")
        if self.order is not None and self.order < 1:
            raise UserError(f"`order` {self.order} must be at least 1; leave it out for the number of rollouts a problem")
        if self.method == "curve":
            self.kernel(np.ones(1))
        if self.estimate == "unbiased":
            Unbiased.degree(self.kernel(np.ones(1)))

    @property
    def needs_pass_rates(self) -> bool:
        """Whether the weights depend on pass rates."""
        return self.method != "uniform"

    def kernel(self, K: np.ndarray) -> Kernel:
        """The kernel for problems with K rollouts, K of shape (n,). Raises `UserError` if `order` is K by default, but K differs between problems."""
        method = METHODS[self.method]
        options = {name: getattr(self, name) for name in method.options}
        if "order" in options and self.order is None:
            if K.min() != K.max():
                raise UserError(
                    f"`order` must be given with `method` {self.method}, since `K` is not the same for all: {K.min()} to {K.max()}"
                )
            options["order"] = int(K[0])
        return method.make(**options)


@dataclass(frozen=True)
class Weights:
    """The weights of a data set of n problems: `values` (n,) float64 with mean one. A problem of weight zero is dropped."""

    values: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """Indices of the problems with a positive weight, ascending."""
        return np.flatnonzero(self.values)

    @property
    def in_training(self) -> np.ndarray:
        """Weights (n,) with mean one over the kept problems, for batches that are drawn only from these.

        With the share s of kept problems, the mean of s w_i l_i over them equals the mean of w_i l_i over all problems. So dropping problems
        changes the cost, but not the expected gradient.
        """
        return self.values * (len(self.kept) / len(self.values))

    def summary(self) -> dict[str, Any]:
        """Counts and spread of the weights, for the record. effective_problems is Kish's (sum w)^2 / sum w^2."""
        kept = self.values[self.kept]
        return {
            "problems": len(self.values),
            "dropped": len(self.values) - len(kept),
            "dropped_share": 1 - len(kept) / len(self.values),
            "largest": float(kept.max()),
            "effective_problems": float(kept.sum() ** 2 / (kept**2).sum()),
        }


class AllZero(UserError):
    """Every weight of a data set of so many problems is zero. The text is that of a training."""

    def __init__(self, problems: int) -> None:
        super().__init__(
            f"all {problems} problems have weight zero, so there is nothing to train on: the student solves them always or never, or the filter "
            "keeps no pass rate that occurs, or responses are cut at `max_new_tokens` and count as failed; take `method` paced `estimate` "
            "posterior, more or longer rollouts, or other problems (pass rates that were made serve another `out` by `pass_rates`)"
        )
        self.problems = problems

    def of_counts(self) -> UserError:
        """The same where there are only counts, without the options of a training."""
        return UserError(
            f"all {self.problems} problems have weight zero: their rollouts pass always or never, or `method` keeps no pass rate that occurs; take `method` paced with `estimate` "
            "posterior, which gives every problem a weight, or counts of more rollouts or of other problems"
        )


def normalised(raw: np.ndarray) -> Weights:
    """`raw` (n,) scaled to mean one over the data set.

    Raises `AllZero`, a `UserError`, if all weights are zero, and `ValueError` for weights that are negative or not finite.
    """
    raw = np.asarray(raw, dtype=np.float64)
    if raw.ndim != 1 or raw.size == 0 or not np.isfinite(raw).all() or raw.min() < 0:
        raise ValueError(f"raw must be a non-empty vector of finite numbers >= 0, got {raw!r}")
    if raw.max() == 0:
        raise AllZero(raw.size)
    # Divide by the largest first, so that the sum of tiny weights does not underflow.
    scaled = raw / raw.max()
    return Weights(scaled / scaled.mean())


def weights(
    k: ArrayLike,
    K: ArrayLike,
    kernel: str | Kernel | Callable[[float], float] = Beta(1, 1),  # noqa: B008 (a frozen value)
    estimator: str | Estimator = "plugin",
) -> Weights:
    """The weights of a data set of n problems from k passes (n,) in K rollouts, with K (n,) or one K for all.

    kernel: w(p), as a name in `METHODS` (with its default options), an object such as Beta(1, 1) or MaxRL(8), or any function of one pass
    rate that returns a finite weight >= 0. estimator: a name in `ESTIMATES`, or an object such as Posterior(prior=(0.35, 0.43)).

    Raises `UserError` for an unknown name, if all weights are zero, or if the estimate does not exist; `ValueError` for impossible counts,
    and for a function that returns no weight.
    """
    k, K = _checked_counts(k, K)
    if isinstance(kernel, str):
        method_of(kernel, "kernel")
        kernel = Weighting(kernel).kernel(K)
    elif isinstance(kernel, type) or not callable(kernel):
        raise UserError(
            f"`kernel` {kernel!r} must be a name ({', '.join(METHODS)}), a kernel such as Beta(1, 1), or a function of the pass rate"
        )
    elif not isinstance(kernel, Kernel):
        kernel = FunctionKernel(kernel)
    estimate = estimator_of(estimator, "estimator") if isinstance(estimator, str) else estimator
    # If the weight does not depend on the pass rate, all estimates agree, including those that these counts would not allow.
    return normalised(np.ones(k.shape) if isinstance(kernel, Uniform) else estimate(kernel, k, K))


def weigh(weighting: Weighting, k: np.ndarray, K: np.ndarray) -> Weights:
    """The weights under a configuration, both for trainings and for a user's own loop. Raises the errors of `weights`."""
    k, K = _checked_counts(k, K)
    return weights(k, K, weighting.kernel(K), weighting.estimate)


def _checked_counts(k: ArrayLike, K: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    k, K = np.asarray(k), np.asarray(K)
    K = np.full(k.shape, K) if K.ndim == 0 else K
    if k.shape != K.shape or k.ndim != 1 or not k.size or not ((k >= 0) & (k <= K) & (K >= 1) & (k % 1 == 0) & (K % 1 == 0)).all():
        raise ValueError(f"k and K must be vectors of whole numbers with 0 <= k <= K and K >= 1, got {k!r} and {K!r}")
    return k, K


def sample_in_proportion(weights: Weights, size: int, rng: np.random.Generator) -> np.ndarray:
    """`size` problem indices drawn with replacement with probability w_i / sum w (`weight_by` sampling`).

    Trained on with weight 1, they give the same expected gradient as kept problems that are drawn uniformly and weighted.
    """
    return rng.choice(len(weights.values), size=size, p=weights.values / weights.values.sum())
