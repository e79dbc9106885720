"""From a kernel w(p) and the counts k of K to a weight: the pass rate p is not known, only counted.

Every estimator is called with a kernel and the counts of all problems, k and K (n,), and returns the weights (n,) before normalising.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from paced_exp.core.errors import UserError
from paced_theory.estimation import fit_beta_prior, unbiased_weight
from paced_theory.kernel import Kernel


class Estimator(Protocol):
    """What `weights` calls: a kernel and counts (n,) in, weights (n,) out."""

    def __call__(self, kernel: Kernel, k: np.ndarray, K: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class PlugIn:
    """w(k/K), the paper's own. It exists for every kernel, and drops a problem for good where w is 0 at the rate counted."""

    def __call__(self, kernel: Kernel, k: np.ndarray, K: np.ndarray) -> np.ndarray:
        return kernel.at_counts(k, K)


@dataclass(frozen=True)
class Unbiased:
    """The one function of k whose expectation is w(p) at every p.

    It exists exactly where w is a polynomial in p of degree K at most: PACED and focal with whole exponents, MaxRL, no weighting. Raises
    `UserError` elsewhere.
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
        """The degree of the kernel as a sum of c p^i (1-p)^j. Raises `UserError` where it is none."""
        exponents = [exponent for _, i, j in kernel.powers for exponent in (i, j)]
        if not exponents or any(exponent % 1 for exponent in exponents):
            raise UserError(
                f"`estimate` unbiased does not exist for {kernel.name}: only a polynomial in the pass rate has one, such as a power with whole "
                "exponents; take plugin, posterior or empirical_bayes"
            )
        return int(max(i + j for _, i, j in kernel.powers))


@dataclass(frozen=True)
class Posterior:
    """E[w(p) | k of K] for p ~ Beta(*prior), the uniform law by default: never zero where w is positive on an interval.

    By closed form for every named kernel but the Gaussian, otherwise by quadrature to a relative error of 1e-9.
    """

    prior: tuple[float, float] = (1.0, 1.0)

    def __call__(self, kernel: Kernel, k: np.ndarray, K: np.ndarray) -> np.ndarray:
        return kernel.posterior_mean(k, K, self.prior)


@dataclass(frozen=True)
class EmpiricalBayes:
    """The posterior mean under the Beta prior of highest likelihood for all counts. Raises `UserError` for counts that determine none."""

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
    """The estimator of this name. Raises `UserError`, listing the known ones, for any other."""
    if name not in ESTIMATES:
        raise UserError(f"`{argument}` {name} is not known; known: {', '.join(ESTIMATES)}")
    return ESTIMATES[name]
