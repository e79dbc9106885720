"""Estimates from utilities: the mean of each bin and of the pool with intervals, and the resulting weights.

Intervals account for the sampling of both the probed and the held-out problems (`two_way`). The pool is all problems drawn. Its mean weights each
bin by the share of problems that fell into it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from paced_exp.data.problem_tables import Counts
from paced_exp.probe.accuracy_utilities import BinUtilities
from paced_exp.probe.two_way import Spread, ratio, weighted_mean
from paced_exp.weighting import weights
from paced_theory.curve import curve_text, parse_curve

MINIMUM = 3  # problems of a bin, as for its SNR


@dataclass(frozen=True)
class AlignedBin:
    """The problems of one bin that were measured: mean p-hat, the same as passes k of K, how many problems drawn belong to the bin, and
    utilities by metric."""

    pass_rate: float
    k: float
    offered: int
    utilities: dict[str, BinUtilities]


@dataclass(frozen=True)
class AlignedEstimate:
    """One row of the result in one metric: means over the bin's `count` problems of utility, `inner` and `norm_squared` (`accuracy_utilities`).

    low..high, inner_low..inner_high: 95 % intervals. relative: the utility over the pool's, with its interval; None if the interval of the
    pool's mean contains zero.
    """

    pass_rate: float
    k: float
    count: int
    offered: int
    utility: float
    low: float
    high: float
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    inner: float
    inner_low: float
    inner_high: float
    norm_squared: float


def estimates(bins: list[AlignedBin], metric: str) -> dict[str, Any]:
    """`bins`, a row for each, and `pool`, the mean over all problems drawn, as plain values for the record."""
    measured = [each.utilities[metric] for each in bins]
    utility, inner = [each.utility for each in measured], [each.inner for each in measured]
    shares = np.array([each.offered for each in bins], dtype=float)
    shares /= shares.sum()
    rows = []
    for index, (each, own) in enumerate(zip(bins, measured, strict=True)):
        mean, gained = weighted_mean([utility[index]], [1.0]), weighted_mean([inner[index]], [1.0])
        relative = ratio(utility, index, shares.tolist())
        rows.append(
            AlignedEstimate(
                pass_rate=each.pass_rate,
                k=each.k,
                count=len(own.squared),
                offered=each.offered,
                utility=mean.value,
                low=mean.low,
                high=mean.high,
                relative=None if relative is None else relative.value,
                relative_low=None if relative is None else relative.low,
                relative_high=None if relative is None else relative.high,
                inner=gained.value,
                inner_low=gained.low,
                inner_high=gained.high,
                norm_squared=float(own.squared.mean()),
            )
        )
    pool = {"utility": weighted_mean(utility, shares.tolist()), "inner": weighted_mean(inner, shares.tolist())}
    return {"bins": [asdict(row) for row in rows], "pool": {name: _plain(spread) for name, spread in pool.items()}}


def _plain(spread: Spread) -> dict[str, float]:
    return {"value": spread.value, "low": spread.low, "high": spread.high}


def curve_of(rows: list[dict[str, Any]]) -> str | None:
    """The weights in the form of the option `curve`: max(0, mean utility) at each bin's pass rate, with mean one over the bins.

    None if all are zero.
    """
    found = np.array([max(0.0, row["utility"]) for row in rows])
    return curve_text([row["pass_rate"] for row in rows], (found / found.mean()).tolist()) if found.any() else None


def weight_columns(curve: str, counts: Counts) -> dict[str, Any] | None:
    """problem_id, k, K and weight of every problem with counts, as `paced weights` writes them; None if all weights are zero.

    The weight is the curve at k/K, with mean one over the problems of positive weight.
    """
    kernel = parse_curve(curve)
    if not kernel(counts.k / counts.K).any():
        return None
    made = weights(counts.k, counts.K, kernel, "plugin").in_training
    return {"problem_id": counts.problem_id, "k": counts.k, "K": counts.K, "weight": made}
