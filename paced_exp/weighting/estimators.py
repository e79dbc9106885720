"""Estimators of a weight w(p) from the counts k of K, since the pass rate p itself is not known.

Every estimator is called with a kernel and the counts of all problems, k and K (n,), and returns the weights (n,) before normalising.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from paced_exp.core.errors import UserError
from paced_theory.estimation import fit_beta_prior, unbiased_weight
from paced_theory.kernel import Kernel


class Estimator(Protocol):
    """What `weights` calls: a function of a kernel and counts (n,) that returns weights (n,)."""

    def __call__(self, kernel: Kernel, k: np.ndarray, K: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class PlugIn:
    """w(k/K), as in the paper. It exists for every kernel. It drops a problem for good if w(k/K) is 0."""

    def __call__(self, kernel: Kernel, k: np.ndarray, K: np.ndarray) -> np.ndarray:
        return kernel.at_counts(k, K)


@dataclass(frozen=True)
class Unbiased:
    """The only function of k whose expectation is w(p) at every p.

    It exists exactly if w is a polynomial in p of degree at most K: PACED and focal with whole exponents, MaxRL, and no weighting. Otherwise
    `UserError` is raised.
    """

    def __call__(self, kernel: Kernel, k: np.ndarray, K: np.ndarray) -> np.ndarray:
        degree = self.degree(kernel)
        if K.min() < degree:
            raise UserError(
                f"`estimate` unbiased of {kernel.name} needs at least {degree} rollouts a problem, its degree in the pass rate, got {K.min()}; "
                "raise `K`"
            )
        return np.asarray(sum(scale * unbiased_weight(k, K, int(i), int(j)) for scale, i, j in kernel.powers))

    @staticmethod
    def degree(kernel: Kernel) -> int:
        """The degree of the kernel as a sum of c p^i (1-p)^j. Raises `UserError` if it is not such a sum."""
        exponents = [exponent for _, i, j in kernel.powers for exponent in (i, j)]
        if not exponents or any(exponent % 1 for exponent in exponents):
            raise UserError(
                f"`estimate` unbiased does not exist for {kernel.name}: only a polynomial in the pass rate has one, such as a power with whole "
                "exponents; take plugin, posterior or empirical_bayes"
            )
        return int(max(i + j for _, i, j in kernel.powers))


@dataclass(frozen=True)
class Posterior:
    """E[w(p) | k of K] for p ~ Beta(*prior), by default the uniform distribution. Never zero if w is positive on an interval.

    Computed in closed form for every named kernel except the Gaussian, otherwise by quadrature to a relative error of 1e-9.
    """

    prior: tuple[float, float] = (1.0, 1.0)

    def __call__(self, kernel: Kernel, k: np.ndarray, K: np.ndarray) -> np.ndarray:
        return kernel.posterior_mean(k, K, self.prior)


@dataclass(frozen=True)
class EmpiricalBayes:
    """The posterior mean under the Beta prior of highest likelihood for all counts. Raises `UserError` if the counts determine no prior."""

    def __call__(self, kernel: Kernel, k: np.ndarray, K: np.ndarray) -> np.ndarray:
        if K.max() < 2 or k.sum() in (0, K.sum()):
            raise UserError(
                f"`estimate` empirical_bayes cannot fit a prior to {int(k.sum())} passes in {int(K.sum())} rollouts, at most {K.max()} a problem: "
                "it needs passes, failures and K of at least 2; take posterior"
            )
        return kernel.posterior_mean(k, K, fit_beta_prior(k, K))


#: Every estimator that `estimate` knows.
ESTIMATES: dict[str, Estimator] = {
    "plugin": PlugIn(),
    "unbiased": Unbiased(),
    "posterior": Posterior(),
    "empirical_bayes": EmpiricalBayes(),
}


def estimator_of(name: str, argument: str = "estimate") -> Estimator:
    """The estimator with this name. Raises `UserError` for an unknown name."""
    if name not in ESTIMATES:
        raise UserError(f"`{argument}` {name} is not known; known: {', '.join(ESTIMATES)}")
    return ESTIMATES[name]
