"""What a kernel is: a weight w(p) >= 0 of the pass rate p in [0, 1], with what follows from it under a Beta law of pass rates.

A kernel of one's own is a subclass with `_value` alone, or a function of p in a `FunctionKernel`; logarithm, slope, mode and integrals then
come from the values, by quadrature checked by a second rule. The kernels of the comparison, with their closed forms, are in `kernels`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from paced_theory._checks import (
    FloatArray,
    as_numpy,
    check_choice,
    check_counts,
    check_fraction,
    check_nonnegative,
    check_pass_rate,
    check_prior,
)
from paced_theory._quadrature import expectation, jumps
from paced_theory._special import log_beta_ratio

Prior = tuple[float, float]


class Kernel(ABC):
    """A weight w(p) >= 0 of the pass rate p in [0, 1]; every method is vectorised and returns float64.

    A subclass defines `_value`. Where it has closed forms it overrides `_log`, `_derivative`, `mode` and `_expectation` too.
    """

    #: Pass rates strictly inside (0, 1) at which the kernel is not smooth: quadrature splits there.
    breakpoints: tuple[float, ...] = ()

    #: w as a sum of c p^i (1-p)^j, each term (c, i, j) with real i, j >= 0; empty where it is no such sum.
    powers: tuple[tuple[float, float, float], ...] = ()

    @property
    def name(self) -> str:
        """A short label for tables and figures."""
        return type(self).__name__

    @abstractmethod
    def _value(self, p: FloatArray) -> FloatArray: ...

    def _log(self, p: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self._value(p)))

    def _derivative(self, p: FloatArray) -> FloatArray:
        """Difference quotients over 2e-6, one-sided at the ends: to about 1e-9 inside and 1e-6 at 0 and 1, where the kernel is smooth."""
        low, high = np.maximum(p - 1e-6, 0.0), np.minimum(p + 1e-6, 1.0)
        return np.asarray((self._value(high) - self._value(low)) / (high - low))

    def mode(self) -> float:
        """The pass rate of the largest weight; the midpoint of the interval where the maximum is attained more than once.

        Searched on a grid of 1/1000 and then between its neighbours, unless the subclass knows better.
        """
        from scipy.optimize import minimize_scalar  # imported here: costs 0.1 s and few kernels need it

        grid = np.linspace(0.0, 1.0, 1001)
        values = self._value(grid)
        best = np.flatnonzero(values == values.max())
        middle = float(0.5 * (grid[best[0]] + grid[best[-1]]))
        if best.size > 1 and self(middle) == values.max():
            return middle
        start = float(grid[best[0]])
        near = (max(start - 1e-3, 0.0), min(start + 1e-3, 1.0))
        found = minimize_scalar(lambda p: -float(self(p)), bounds=near, method="bounded", options={"xatol": 1e-12})
        return float(found.x) if -found.fun > values.max() else start

    def __call__(self, p: ArrayLike) -> FloatArray:
        """w(p), same shape as `p`. ValueError if an entry is outside [0, 1] or NaN."""
        return as_numpy(np.asarray(self._value(check_pass_rate("p", p))))

    def log(self, p: ArrayLike) -> FloatArray:
        """log w(p), -inf where the weight is zero; finite where w(p) underflows but is positive."""
        return as_numpy(np.asarray(self._log(check_pass_rate("p", p))))

    def derivative(self, p: ArrayLike) -> FloatArray:
        """w'(p), one-sided at 0 and 1 (possibly +-inf there), NaN where the kernel jumps."""
        return as_numpy(np.asarray(self._derivative(check_pass_rate("p", p))))

    def at_counts(self, k: ArrayLike, K: ArrayLike) -> FloatArray:
        """The plug-in weight w(k/K) for k passes in K rollouts, which broadcast. ValueError for counts outside 0 <= k <= K, K >= 1."""
        passes, rollouts = check_counts(k, K)
        return self(passes / rollouts)

    def posterior_mean(self, k: ArrayLike, K: ArrayLike, prior: Prior = (1.0, 1.0)) -> FloatArray:
        """E[w(p) | k of K] for p ~ Beta(*prior) before the rollouts, so Beta(a + k, b + K - k) after them; `k` and `K` broadcast.

        By the kernel's closed form of `integral`, otherwise by quadrature, checked to a relative error of 1e-9. Among all functions of k it has the
        highest efficiency when the prior is the law of p. ValueError for impossible counts or priors, or where quadrature fails.
        """
        passes, rollouts = check_counts(k, K)
        a, b = check_prior(prior)
        pairs, where = np.unique(np.stack([passes.ravel(), rollouts.ravel()]), axis=1, return_inverse=True)
        means = np.array([self._expectation((a + passed, b + made - passed)) for passed, made in pairs.T])
        return as_numpy(means[where].reshape(passes.shape))

    def moment(self, order_p: float = 0.0, order_q: float = 0.0, prior: Prior = (1.0, 1.0)) -> float:
        """E[p^order_p (1-p)^order_q w(p)] for p ~ Beta(*prior), orders real and >= 0.

        ValueError if an order is negative or `prior` is not a pair of positive numbers.
        """
        i, j = check_nonnegative("order_p", order_p), check_nonnegative("order_q", order_q)
        a, b = check_prior(prior)
        # p^i (1-p)^j Beta(a, b) is Beta(a+i, b+j) up to the ratio of the normalising constants.
        return math.exp(log_beta_ratio(a, b, i, j)) * self._expectation((a + i, b + j))

    def integral(self, prior: Prior = (1.0, 1.0)) -> float:
        """E[w(p)] for p ~ Beta(*prior)."""
        return self._expectation(check_prior(prior))

    def _expectation(self, prior: Prior) -> float:
        return expectation(self._value, prior, self.breakpoints)

    def inner_product(self, other: "Kernel", prior: Prior = (1.0, 1.0)) -> float:
        """E[w(p) v(p)] for p ~ Beta(*prior): a moment where one of the two is a Beta kernel, otherwise by quadrature."""
        prior = check_prior(prior)
        for one, two in ((self, other), (other, self)):
            if len(two.powers) == 1:
                ((scale, i, j),) = two.powers
                return scale * one.moment(i, j, prior)
        return expectation(lambda p: self._value(p) * other._value(p), prior, self.breakpoints + other.breakpoints)

    def efficiency(self, optimum: "Kernel", prior: Prior = (1.0, 1.0)) -> float:
        """E[w v]^2 / (E[w^2] E[v^2]) in [0, 1]: the share of the best progress per unit of noise that w keeps when v is optimal.

        Invariant under rescaling of either kernel; 1 only if w is proportional to v. Source: ours, the aggregate form of PACED's robustness
        theorem. ValueError if w or v is zero almost everywhere (or its square below the range of doubles).
        """
        second = self.inner_product(self, prior)
        if second == 0.0:
            raise ValueError(f"self must be positive on a set of positive probability, got {self.name} under the prior {prior}")
        if (best := optimum.inner_product(optimum, prior)) == 0.0:
            raise ValueError(f"optimum must be positive on a set of positive probability, got {optimum.name} under the prior {prior}")
        return min(1.0, self.inner_product(optimum, prior) ** 2 / (second * best))

    def normalised(
        self, how: Literal["peak", "mean", "sum"], pass_rates: ArrayLike | None = None, prior: Prior | None = None
    ) -> "ScaledKernel":
        """The kernel rescaled so that its maximum is 1 ("peak"), its mean is 1 ("mean") or its sum is 1 ("sum").

        Mean and sum are over `pass_rates`, an array of any shape; "mean" also accepts a Beta law `prior` instead. ValueError if the
        arguments do not fit `how`, or if every weight is zero.
        """
        check_choice("how", how, ("peak", "mean", "sum"))
        if how == "peak":
            if pass_rates is not None or prior is not None:
                raise ValueError("pass_rates and prior must be left out for how='peak', which depends on the kernel alone")
            return ScaledKernel(self, -float(self._log(np.asarray(self.mode()))))
        if (pass_rates is None) == (prior is None) or (how == "sum" and pass_rates is None):
            needed = "pass_rates or prior, not both" if how == "mean" else "pass_rates, not prior"
            raise ValueError(f"how={how!r} needs {needed}")
        if prior is not None:
            mean = self.integral(prior)
            log_total = math.log(mean) if mean > 0 else -math.inf
        else:
            logs = self._log(check_pass_rate("pass_rates", np.asarray(pass_rates)))
            if logs.size == 0:
                raise ValueError("pass_rates must have at least 1 entry, got none")
            log_total = float(np.logaddexp.reduce(logs, axis=None)) - (math.log(logs.size) if how == "mean" else 0.0)
        if log_total == -math.inf:
            raise ValueError(f"pass_rates must give {self.name} at least one positive weight, got only zeros: nothing to normalise")
        return ScaledKernel(self, -log_total)


@dataclass(frozen=True)
class ScaledKernel(Kernel):
    """exp(log_scale) times another kernel: what `Kernel.normalised` returns. The scale is kept as a logarithm: it cannot overflow."""

    kernel: Kernel
    log_scale: float

    @property
    def name(self) -> str:
        return self.kernel.name

    @property
    def breakpoints(self) -> tuple[float, ...]:  # type: ignore[override]
        return self.kernel.breakpoints

    def _value(self, p: FloatArray) -> FloatArray:
        return np.exp(self._log(p))

    def _log(self, p: FloatArray) -> FloatArray:
        return self.kernel._log(p) + self.log_scale

    def _derivative(self, p: FloatArray) -> FloatArray:
        slope = self.kernel._derivative(p)
        with np.errstate(divide="ignore"):  # the scale alone can exceed the range of doubles where its product with the slope does not
            return np.asarray(np.sign(slope) * np.exp(self.log_scale + np.log(np.abs(slope))))

    def mode(self) -> float:
        return self.kernel.mode()

    def _expectation(self, prior: Prior) -> float:
        mean = self.kernel._expectation(prior)
        return math.exp(self.log_scale + math.log(mean)) if mean > 0 else 0.0


@dataclass(frozen=True)
class FunctionKernel(Kernel):
    """Any function of the pass rate as a kernel: it is called with one float in [0, 1] and returns a finite weight >= 0.

    breakpoints: pass rates inside (0, 1) where the function has a kink; integrals are sums of pieces between them. Its jumps are found by
    bisection and added, and need no naming; only of jumps less than 1/2048 apart some may be missed. label: its name in tables.

    Raises ValueError where the function returns anything else, an integral where two quadrature rules do not agree to 1e-9.

    >>> tent = FunctionKernel(lambda p: min(p, 1 - p), breakpoints=(0.5,), label="tent")
    >>> tent([0.25, 0.5, 1.0]).tolist(), round(tent.integral(), 12), tent.mode()
    ([0.25, 0.5, 0.0], 0.25, 0.5)
    """

    function: Callable[[float], float]
    breakpoints: tuple[float, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ValueError(f"function must be a function of the pass rate, got {self.function!r}")
        for point in self.breakpoints:
            check_fraction("breakpoints", point)
        object.__setattr__(self, "breakpoints", tuple(sorted({*self.breakpoints, *jumps(self._value)})))

    @property
    def name(self) -> str:
        return self.label or getattr(self.function, "__name__", type(self.function).__name__)

    def _value(self, p: FloatArray) -> FloatArray:
        weights = np.vectorize(lambda rate: float(self.function(float(rate))), otypes=[np.float64])(p)
        bad = ~(np.isfinite(weights) & (weights >= 0))
        if bad.any():
            first = f"{weights[bad].flat[0]:g} at p = {np.asarray(p)[bad].flat[0]:g}"
            raise ValueError(f"function must return finite weights >= 0 for every pass rate in [0, 1], got {first} from {self.name}")
        return np.asarray(weights)

    def _derivative(self, p: FloatArray) -> FloatArray:
        return np.where(np.isin(p, self.breakpoints), np.nan, super()._derivative(p))
