"""The kernels of the comparison: PACED's Beta kernel and its rivals, each weight w(p) written once, with its closed forms.

Integrals are taken against a Beta(a, b) law of pass rates, `prior=(a, b)`;
the default (1, 1) is the uniform law.

Source: the Beta kernel, PACED (arXiv 2603.11178) Prop. 2; the rivals are the weights implied by the methods it is compared with (the square
root sqrt(p(1-p)) by GRPO's division by the reward's standard deviation, the indicator by difficulty filters, MaxRL of arXiv 2602.02710,
(1-p)^gamma of F-GRPO, arXiv 2602.06717, after the focal loss); closed forms are ours.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincc, betaln, digamma, entr, xlog1py, xlogy

from paced_theory._checks import (
    FloatArray,
    as_numpy,
    check_counts,
    check_fraction,
    check_int,
    check_nonnegative,
    check_pass_rate,
    check_positive,
    check_prior,
    check_real,
)
from paced_theory._special import bernstein, log_beta_ratio
from paced_theory.kernel import Kernel, Prior


@dataclass(frozen=True)
class BetaKernel(Kernel):
    """PACED's kernel w(p) = p^alpha (1-p)^beta, alpha, beta >= 0. Source: PACED Prop. 2; the default alpha = beta = 1 is the paper's.

    >>> float(BetaKernel()(0.5)), BetaKernel(2, 1).mode(), round(BetaKernel().integral(), 12)
    (0.25, 0.6666666666666666, 0.166666666667)
    """

    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        check_nonnegative("alpha", self.alpha)
        check_nonnegative("beta", self.beta)

    @property
    def name(self) -> str:
        return f"Beta({self.alpha:g}, {self.beta:g})"

    @property
    def powers(self) -> tuple[tuple[float, float, float], ...]:  # type: ignore[override]
        return ((1.0, self.alpha, self.beta),)

    def _value(self, p: FloatArray) -> FloatArray:
        return self._of(p, 1.0 - p)

    def _of(self, p: FloatArray, q: FloatArray) -> FloatArray:
        """w at the pass rate p, the failure rate q given too: (K-k)/K is more exact than 1 - k/K."""
        return np.asarray(p**self.alpha * q**self.beta)

    def at_counts(self, k: ArrayLike, K: ArrayLike) -> FloatArray:
        passes, rollouts = check_counts(k, K)
        return as_numpy(self._of(passes / rollouts, (rollouts - passes) / rollouts))

    def posterior_mean(self, k: ArrayLike, K: ArrayLike, prior: Prior = (1.0, 1.0)) -> FloatArray:
        passes, rollouts = check_counts(k, K)
        a, b = check_prior(prior)
        return as_numpy(np.asarray(np.exp(log_beta_ratio(passes + a, rollouts - passes + b, self.alpha, self.beta))))

    def _log(self, p: FloatArray) -> FloatArray:
        return np.asarray(xlogy(self.alpha, p) + xlog1py(self.beta, -p))

    def _derivative(self, p: FloatArray) -> FloatArray:
        q = 1.0 - p
        slope = np.zeros_like(p)
        with np.errstate(divide="ignore", over="ignore"):  # an exponent below 1 has an infinite slope at its boundary
            if self.alpha > 0:
                slope = slope + self.alpha * p ** (self.alpha - 1.0) * q**self.beta
            if self.beta > 0:
                slope = slope - self.beta * p**self.alpha * q ** (self.beta - 1.0)
        return slope

    def mode(self) -> float:
        total = self.alpha + self.beta
        return self.alpha / total if total > 0 else 0.5

    def _expectation(self, prior: Prior) -> float:
        a, b = prior
        return math.exp(log_beta_ratio(a, b, self.alpha, self.beta))


@dataclass(frozen=True)
class Uniform(BetaKernel):
    """w(p) = 1: no weighting, the Beta kernel with both exponents 0."""

    alpha: float = field(default=0.0, init=False)
    beta: float = field(default=0.0, init=False)

    @property
    def name(self) -> str:
        return "uniform"


@dataclass(frozen=True)
class SqrtVariance(BetaKernel):
    """w(p) = sqrt(p(1-p)), the standard deviation of a 0/1 reward: the weight implied by GRPO's normalised advantages."""

    alpha: float = field(default=0.5, init=False)
    beta: float = field(default=0.5, init=False)

    @property
    def name(self) -> str:
        return "sqrt(p(1-p))"

    # At the failure rate 1 - k/K, as GRPO's weights in every record were computed: BetaKernel's (K-k)/K may differ in the last bit.
    at_counts = Kernel.at_counts


@dataclass(frozen=True)
class Focal(BetaKernel):
    """w(p) = (1-p)^gamma, gamma >= 0: the Beta kernel that favours hard problems, as the focal loss favours hard examples.

    Source: F-GRPO (arXiv 2602.06717); the default gamma = 2 is the focal loss's (arXiv 1708.02002).
    """

    alpha: float = field(default=0.0, init=False)
    beta: float = field(default=2.0, init=False)
    gamma: float = 2.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", check_nonnegative("gamma", self.gamma))

    @property
    def name(self) -> str:
        return f"focal({self.gamma:g})"


@dataclass(frozen=True)
class MaxRL(Kernel):
    """w(p) = (1 - (1-p)^order) / p, and `order` at p = 0: the weight of maximum-likelihood RL truncated at `order` rollouts.

    It is the sum of (1-p)^j over j = 0 .. order - 1, a polynomial of degree order - 1: 1 for order 1 (the pass rate's own gradient), 1/p (its
    logarithm's) as order grows. Source: MaxRL (arXiv 2602.02710), where order is the number of rollouts a problem.

    >>> MaxRL(4)([0.0, 0.5, 1.0]).tolist()
    [4.0, 1.875, 1.0]
    """

    order: int = 8

    def __post_init__(self) -> None:
        check_int("order", self.order, 1)

    @property
    def name(self) -> str:
        return f"MaxRL({self.order})"

    @property
    def powers(self) -> tuple[tuple[float, float, float], ...]:  # type: ignore[override]
        return tuple((1.0, 0.0, float(j)) for j in range(self.order))

    def _value(self, p: FloatArray) -> FloatArray:
        rate = np.where(p > 0, p, 1.0)
        return np.where(p > 0, -np.expm1(xlog1py(self.order, -rate)) / rate, float(self.order))

    def _derivative(self, p: FloatArray) -> FloatArray:
        slope = np.zeros_like(p)
        for j in range(self.order - 1, 0, -1):  # -sum_j j q^(j-1) by Horner: terms of one sign, where the quotient's cancel at small p
            slope = slope * (1.0 - p) - j
        return slope

    def mode(self) -> float:
        return 0.0 if self.order > 1 else 0.5

    def _expectation(self, prior: Prior) -> float:
        a, b = prior
        return float(np.sum(np.exp(log_beta_ratio(a, b, 0.0, np.arange(self.order)))))


@dataclass(frozen=True)
class Linear(Kernel):
    """w(p) = at_zero (1-p) + at_one p, both ends >= 0 and not both 0; the default 1 - p favours problems the student fails."""

    at_zero: float = 1.0
    at_one: float = 0.0

    def __post_init__(self) -> None:
        check_nonnegative("at_zero", self.at_zero)
        check_nonnegative("at_one", self.at_one)
        if self.at_zero == self.at_one == 0:
            raise ValueError("at_zero and at_one must not both be 0: the kernel would vanish everywhere")

    @property
    def name(self) -> str:
        return f"linear({self.at_zero:g} to {self.at_one:g})"

    @property
    def powers(self) -> tuple[tuple[float, float, float], ...]:  # type: ignore[override]
        return ((self.at_zero, 0.0, 1.0), (self.at_one, 1.0, 0.0))

    def _value(self, p: FloatArray) -> FloatArray:
        return self.at_zero * (1.0 - p) + self.at_one * p

    def _derivative(self, p: FloatArray) -> FloatArray:
        return np.full_like(p, self.at_one - self.at_zero)

    def mode(self) -> float:
        if self.at_zero == self.at_one:
            return 0.5
        return 0.0 if self.at_zero > self.at_one else 1.0

    def _expectation(self, prior: Prior) -> float:
        a, b = prior
        return (self.at_zero * b + self.at_one * a) / (a + b)


@dataclass(frozen=True)
class HardFilter(Kernel):
    """w(p) = 1 on [lo, hi] and 0 elsewhere, 0 <= lo < hi <= 1: keep a problem or drop it."""

    lo: float = 0.2
    hi: float = 0.8

    def __post_init__(self) -> None:
        check_pass_rate("lo", check_real("lo", self.lo))
        check_pass_rate("hi", check_real("hi", self.hi))
        if self.lo >= self.hi:
            raise ValueError(f"lo must be smaller than hi, got lo={self.lo!r} and hi={self.hi!r}")

    @property
    def name(self) -> str:
        return f"hard filter [{self.lo:g}, {self.hi:g}]"

    @property
    def breakpoints(self) -> tuple[float, ...]:  # type: ignore[override]
        return tuple(edge for edge in (self.lo, self.hi) if 0.0 < edge < 1.0)

    def _value(self, p: FloatArray) -> FloatArray:
        return ((p >= self.lo) & (p <= self.hi)).astype(np.float64)

    def _log(self, p: FloatArray) -> FloatArray:
        return np.where(self._value(p) > 0, 0.0, -np.inf)

    def _derivative(self, p: FloatArray) -> FloatArray:
        return np.where(np.isin(p, self.breakpoints), np.nan, 0.0)

    def mode(self) -> float:
        return 0.5 * (self.lo + self.hi)

    def _expectation(self, prior: Prior) -> float:
        a, b = prior
        if self.lo > a / (a + b):  # in the upper tail the difference of complements does not cancel
            return float(betaincc(a, b, self.lo) - betaincc(a, b, self.hi))
        return float(betainc(a, b, self.hi) - betainc(a, b, self.lo))


@dataclass(frozen=True)
class GaussianBump(Kernel):
    """w(p) = exp(-(p - center)^2 / (2 sigma^2)), center in (0, 1), sigma in [1e-6, 1e6]: narrower is a point, wider a constant.

    With sigma=None the width is matched to PACED's kernel: as densities on [0, 1], the bump and p(1-p), that is Beta(2, 2), have
    the same second moment about `center`, 1/20 at center 1/2. The rival then has the same spread and differs from PACED in its tails only.
    """

    center: float = 0.5
    sigma: float | None = None

    def __post_init__(self) -> None:
        check_fraction("center", self.center)
        if self.sigma is not None and not 1e-6 <= check_positive("sigma", self.sigma) <= 1e6:
            raise ValueError(f"sigma must be in [1e-6, 1e6], got {self.sigma!r}; use HardFilter or Uniform for the limits")

    @cached_property
    def width(self) -> float:
        """The standard deviation in use: `sigma`, or the matched one."""
        return self.sigma if self.sigma is not None else _matched_sigma(self.center)

    @property
    def name(self) -> str:
        return f"Gaussian({self.center:g}, {self.width:.4g})"

    def _value(self, p: FloatArray) -> FloatArray:
        return np.exp(self._log(p))

    def _log(self, p: FloatArray) -> FloatArray:
        return -0.5 * ((p - self.center) / self.width) ** 2

    def _derivative(self, p: FloatArray) -> FloatArray:
        return -(p - self.center) / self.width**2 * self._value(p)

    def mode(self) -> float:
        return self.center

    @property
    def breakpoints(self) -> tuple[float, ...]:  # type: ignore[override]
        # Smooth everywhere, but a narrow bump is invisible to a quadrature rule that does not know where it is.
        offsets = (-40.0, -4.0, 0.0, 4.0, 40.0)
        return tuple(x for x in (self.center + k * self.width for k in offsets) if 0.0 < x < 1.0)


def _matched_sigma(center: float) -> float:
    """The sigma for which the bump on [0, 1] has Beta(2, 2)'s second moment about `center`, 1/20 + (center - 1/2)^2."""
    from scipy.optimize import brentq

    target = 0.05 + (center - 0.5) ** 2

    def excess(log_sigma: float) -> float:
        sigma = math.exp(log_sigma)
        low, high = -center / sigma, (1.0 - center) / sigma
        mass = 0.5 * (math.erf(high / math.sqrt(2.0)) - math.erf(low / math.sqrt(2.0)))
        edges = (high * math.exp(-0.5 * high * high) - low * math.exp(-0.5 * low * low)) / math.sqrt(2.0 * math.pi)
        return sigma**2 * (1.0 - edges / mass) - target  # second moment of a truncated normal about its centre

    # The moment grows with sigma from 0 to the uniform law's 1/12 + (center - 1/2)^2, which is above the target: one root.
    return math.exp(brentq(excess, math.log(1e-3), math.log(1e2), xtol=1e-15))


@dataclass(frozen=True)
class BernoulliEntropy(Kernel):
    """w(p) = -p log p - (1-p) log(1-p) in nats: the entropy of a pass/fail outcome."""

    @property
    def name(self) -> str:
        return "Bernoulli entropy"

    def _value(self, p: FloatArray) -> FloatArray:
        return np.asarray(np.abs(entr(p) - xlog1py(1.0 - p, -p)))  # log1p keeps precision near p = 0; abs turns -0.0 into 0.0

    def _derivative(self, p: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            return np.log1p(-p) - np.log(p)

    def mode(self) -> float:
        return 0.5

    def _expectation(self, prior: Prior) -> float:
        a, b = prior  # E[p log p] = a/(a+b) (digamma(a+1) - digamma(a+b+1)), by differentiating E[p^s] at s = 1
        return float((a * (digamma(a + b + 1) - digamma(a + 1)) + b * (digamma(a + b + 1) - digamma(b + 1))) / (a + b))


@dataclass(frozen=True)
class PosteriorKernel(Kernel):
    """The expected posterior weight as a function of the true pass rate, w(p) = sum_k C(K, k) p^k (1-p)^(K-k) w_k.

    w_k = E[p^alpha (1-p)^beta | k of K] under a Beta(*assumed) prior, see `estimation.posterior_weight`. It is the weight a problem gets
    on average over its K rollouts: a polynomial of degree K, positive at p = 0 and p = 1. Source: ours.
    """

    K: int
    alpha: float = 1.0
    beta: float = 1.0
    assumed: Prior = (1.0, 1.0)

    def __post_init__(self) -> None:
        check_int("K", self.K, 1)
        check_nonnegative("alpha", self.alpha)
        check_nonnegative("beta", self.beta)
        check_prior(self.assumed, "assumed")

    @property
    def name(self) -> str:
        return f"posterior K={self.K}"

    @cached_property
    def weights(self) -> FloatArray:
        """w_k for k = 0..K, shape (K + 1,)."""
        return np.asarray(BetaKernel(self.alpha, self.beta).posterior_mean(np.arange(self.K + 1), self.K, self.assumed))

    def _value(self, p: FloatArray) -> FloatArray:
        return bernstein(self.weights, p)

    def _derivative(self, p: FloatArray) -> FloatArray:
        return self.K * bernstein(np.diff(self.weights), p)

    def mode(self) -> float:
        # w_(k+1)/w_k decreases in k, so the weights rise then fall; Bernstein polynomials do not add changes of direction: one maximum.
        if np.ptp(self.weights) <= 1e-12 * self.weights.max():
            return 0.5
        steps = np.diff(self.weights)
        if steps[0] <= 0:
            return 0.0
        if steps[-1] >= 0:
            return 1.0
        from scipy.optimize import brentq

        return float(brentq(lambda p: float(self._derivative(np.asarray(p))), 0.0, 1.0, xtol=1e-15))

    def _expectation(self, prior: Prior) -> float:
        a, b = prior
        k = np.arange(self.K + 1)
        log_choose = -np.log(self.K + 1) - betaln(k + 1, self.K - k + 1)
        return float(self.weights @ np.exp(log_choose + betaln(k + a, self.K - k + b) - betaln(a, b)))
