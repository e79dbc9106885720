"""SNR^2 of each outer range over that of the middle, with intervals, for all gradients, for trimmed gradients, and for directions alone.

The interval of a ratio contains the factors r for which the interval of SNR^2(range) - r SNR^2(middle) contains zero (Fieller's method, with MOVER's
interval of the difference, `paced_theory.snr.combine`; Donner and Zou 2012 give it in closed form). So the interval lies above one half exactly if
the verdict's rule says that the range keeps at least half. It is only bounded if the interval of the middle excludes zero.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from scipy import optimize

from paced_exp.probe.verdict import middle_of
from paced_theory.snr import Interval, combine

ESTIMANDS = {"snr_squared": "SNR²", "trimmed": "trimmed", "unit_norm": "unit norm"}
_FARTHEST = 1e9  # a larger ratio is called unbounded


class _Estimate(NamedTuple):
    """tail_bias: that of SNR^2 for all gradients; the other estimands have no heavy tail to correct for."""

    snr_squared: float
    snr_squared_low: float
    snr_squared_high: float
    tail_bias: float


def ratio(end: Interval, middle: Sequence[Interval]) -> tuple[float, float, float] | None:
    """SNR^2 of `end` over the mean of `middle`, with its interval; None if the interval of the middle contains zero."""
    share = 1 / len(middle)
    value, low, _ = combine(middle, [share] * len(middle))
    if low <= 0:
        return None

    def limit(factor: float, which: int) -> float:
        return combine([end, *middle], [1.0, *[-factor * share] * len(middle)])[which]

    # Both limits of the difference fall as the factor grows, so each has one zero.
    reach = 1.0
    while reach < _FARTHEST and (limit(reach, 2) > 0 or limit(-reach, 1) < 0):
        reach *= 2
    if reach >= _FARTHEST:
        return None
    lower, upper = (float(optimize.brentq(limit, -reach, reach, args=(which,), xtol=1e-10, rtol=1e-12)) for which in (1, 2))
    return end.snr_squared / value, lower, upper


def _estimates(rows: list[dict[str, Any]], name: str) -> list[_Estimate] | None:
    """One estimand of every row; None if a row lacks it."""
    if any(row.get(field) is None for row in rows for field in (name, f"{name}_low", f"{name}_high")):
        return None
    biases = [row["tail_bias"] if name == "snr_squared" else 0.0 for row in rows]
    return [_Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], bias) for row, bias in zip(rows, biases, strict=True)]


def ratios_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each outer range of a record: its label and, by estimand, {"ratio", "low", "high"}, or None if there is no ratio."""
    centre = middle_of([row["pass_rate"] for row in rows], rows)
    found = []
    for row in rows:
        if row["range"] is None or row["range"]["side"] == "middle":
            continue
        result: dict[str, Any] = {"range": row["range"]["label"], "n": row["n"]}
        for name in ESTIMANDS:
            own, middle = _estimates([row], name), _estimates(centre, name)
            numbers = ratio(own[0], middle) if own and middle else None
            result[name] = None if numbers is None else dict(zip(("ratio", "low", "high"), map(float, numbers), strict=True))
        found.append(result)
    return found
