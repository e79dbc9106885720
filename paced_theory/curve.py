"""A kernel given by its values: w(p) read off straight lines between points, such as a probe measures it at its pass-rate bins."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import betainc, betaincc

from paced_theory._checks import FloatArray, check_nonnegative, check_pass_rate
from paced_theory.kernel import Kernel, Prior


@dataclass(frozen=True)
class Curve(Kernel):
    """The kernel through `points`, pairs (p, w) with p ascending in [0, 1] and w >= 0, not all 0: linear between them, constant beyond them.

    Source: ours. ValueError for points that are not so.

    >>> Curve(((0.0, 0.0), (0.5, 1.0), (1.0, 0.5)))([0.25, 0.5, 1.0]).tolist()
    [0.5, 1.0, 0.5]
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not self.points or any(len(point) != 2 for point in self.points):
            raise ValueError(f"points must be pairs of a pass rate and a weight, at least one, got {self.points!r}")
        rates = [float(check_pass_rate("points", np.asarray(p))) for p, _ in self.points]
        weights = [check_nonnegative("points", w) for _, w in self.points]
        if any(left >= right for left, right in pairwise(rates)):
            raise ValueError(f"points must have ascending pass rates, got {rates}")
        if not any(weights):
            raise ValueError("points must have at least one positive weight, got only zeros: the kernel would vanish everywhere")

    @property
    def name(self) -> str:
        return f"curve of {len(self.points)} points"

    @property
    def breakpoints(self) -> tuple[float, ...]:  # type: ignore[override]
        return tuple(p for p, _ in self.points if 0 < p < 1)

    @property
    def _columns(self) -> tuple[FloatArray, FloatArray]:
        rates, weights = np.array(self.points, dtype=np.float64).T
        return rates, weights

    def _value(self, p: FloatArray) -> FloatArray:
        return np.asarray(np.interp(p, *self._columns))

    def _derivative(self, p: FloatArray) -> FloatArray:
        return np.where(np.isin(p, self.breakpoints), np.nan, super()._derivative(p))

    def mode(self) -> float:
        rates, weights = self._columns
        best = rates[weights == weights.max()]
        # Constant beyond the points: a maximum at the first or the last reaches to the end.
        low = 0.0 if weights[0] == weights.max() else best[0]
        high = 1.0 if weights[-1] == weights.max() else best[-1]
        middle = 0.5 * (low + high)
        return float(middle if self(middle) == weights.max() else best[0])

    def _expectation(self, prior: Prior) -> float:
        a, b = prior
        rates, weights = self._columns
        edges = np.concatenate([[0.0], rates, [1.0]])
        values = np.concatenate([weights[:1], weights, weights[-1:]])
        left, right = edges[:-1], edges[1:]
        wide = right > left
        slope = np.divide(np.diff(values), right - left, out=np.zeros(len(left)), where=wide)
        level = values[:-1] - slope * left
        # w(p) = level + slope p on each piece: E[1; piece] and E[p; piece] are differences of incomplete beta functions.
        return float(np.sum(level * _mass(a, b, left, right) + slope * (a / (a + b)) * _mass(a + 1.0, b, left, right)))


def _mass(a: float, b: float, left: FloatArray, right: FloatArray) -> FloatArray:
    """P(left < p <= right) for p ~ Beta(a, b), from the tail in which the interval lies: the difference of two ones has no digits."""
    lower = betainc(a, b, right) - betainc(a, b, left)
    upper = betaincc(a, b, left) - betaincc(a, b, right)
    return np.asarray(np.where(left < a / (a + b), lower, upper))


def parse_curve(text: str) -> Curve:
    """The kernel of "p:w,p:w,...", such as 0:0.2,0.5:1.5,1:0.4. ValueError for text that is none."""
    points: list[tuple[float, float]] = []
    for part in text.split(","):
        rate, _, weight = part.partition(":")
        try:
            points.append((float(rate), float(weight)))
        except ValueError:
            raise ValueError(
                f"a curve is written as PASS_RATE:WEIGHT joined by commas, such as 0:0.2,0.5:1.5,1:0.4; got {part!r}"
            ) from None
    return Curve(tuple(points))


def curve_text(rates: Sequence[float], weights: Sequence[float]) -> str:
    """What `parse_curve` reads, to six digits."""
    return ",".join(f"{rate:.6g}:{weight:.6g}" for rate, weight in zip(rates, weights, strict=True))
