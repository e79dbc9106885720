"""The verdict on a probe's two end bins, by a rule that was fixed before any run, and in words, from the numbers in the record.

The middle is the mean SNR^2 of the bins whose pass rate lies in [0.3, 0.7]. An end bin keeps at least half if the 95 % interval of
SNR^2(end) - SNR^2(middle) / 2 lies above zero, and has less than half if it lies below. Otherwise it is not decided, and neither if the interval of
the middle itself contains zero. Half of SNR^2 is sqrt(1/2) = 0.71 of the SNR that figures plot.

The verdict is about a bin and not about a limit. Problems with k = 0 have pass rates above zero, and a curve p^a with a small a > 0, which vanishes
as p -> 0, keeps more than half there. The upper bound on the exponent is what the data say about the limit (`paced_exp.probe.fits`). In a screened
probe, the ends are the outermost ranges, [0, 0.01) and (0.99, 1] (`paced_exp.probe.ranges`), with the same rule. Older records have other words for
the same rule ("collapses", "does not collapse"); only their numbers are read.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from paced_theory.snr import Interval, SNREstimate, combine, problems_needed

Of = TypeVar("Of")
BinVerdict = Literal["keeps at least half", "has less than half", "not decided"]

MIDDLE = (0.3, 0.7)
SHARE = 0.5
ENDS = ("low", "high")
WANTED = 1000  # problems in an outermost range, fixed before any run of ranges
NAMES = {"low": "p → 0", "high": "p → 1"}  # the paper's statement on the end; `bin_name` names the bin
RULE = (
    "an end bin is judged by the interval of SNR²(bin) − SNR²(middle)/2, the middle being the mean over bins from 0.3 to 0.7 "
    f"(half of SNR² is {math.sqrt(SHARE):.2f} of the plotted SNR)"
)
Relation = Literal["below", "above", "level"]
_RELATIONS: dict[Relation, str] = {"below": "lies below", "above": "lies above", "level": "cannot be told from"}
_BOTH: dict[Relation, str] = {
    "below": "both ends lie below the middle",
    "above": "both ends lie above the middle",
    "level": "neither end can be told from the middle",
}


def judge(rows: list[Any], estimates: list[SNREstimate], end: str) -> dict[str, Any]:
    """One end's verdict and the numbers behind it, for the record.

    rows: bins in ascending pass rate with `pass_rate`, `n`, `effective_rank` and `range`. estimates: those of the bins. `difference` is None if
    the bins at the end or in the middle hold too few problems.
    """
    name = f"p -> {0 if end == 'low' else 1}"
    numbers = end_numbers([row.pass_rate for row in rows], estimates, end, [row.range for row in rows])
    if numbers["difference"] is None:
        return {"end": name, "verdict": "not decided", "difference": None}
    edge = 0 if end == "low" else -1
    result: dict[str, Any] = {"end": name, "snr_squared": estimates[edge].snr_squared, **numbers}
    result["verdict"] = by_rule(result)
    if result["verdict"] == "not decided" and result["middle"] > 0:
        # To tell half of the middle's SNR^2 from all of it is at least as hard as to tell half of it from zero.
        result["problems_needed"] = problems_needed(SHARE * result["middle"], effective_rank=rows[edge].effective_rank)
    return result


def end_numbers(
    pass_rates: Sequence[float], estimates: Sequence[Interval], end: str, ranges: Sequence[dict[str, Any] | None] | None = None
) -> dict[str, float | None]:
    """SNR^2(end) - SNR^2(middle)/2 and the middle's SNR^2, each with its interval. With too few bins, only `difference`, which is None.

    pass_rates, estimates: of the bins, in ascending order. ranges: what the record of a screened probe says of each. Intervals of sums over bins
    are MOVER's (`paced_theory.snr.combine`).
    """
    middle = middle_of(pass_rates, estimates)
    edge = 0 if end == "low" else -1
    if not middle or not pass_rates or not _at_end(pass_rates[edge], None if ranges is None else ranges[edge], end):
        return {"difference": None}
    share = 1 / len(middle)
    value, value_low, value_high = combine(middle, [share] * len(middle))
    difference, low, high = combine([estimates[edge], *middle], [1.0, *[-SHARE * share] * len(middle)])
    return {
        "middle": value,
        "middle_low": value_low,
        "middle_high": value_high,
        "difference": difference,
        "difference_low": low,
        "difference_high": high,
    }


def middle_of(pass_rates: Sequence[float], estimates: Sequence[Of]) -> list[Of]:
    """The items that belong to bins in the middle."""
    return [estimate for rate, estimate in zip(pass_rates, estimates, strict=True) if MIDDLE[0] <= rate <= MIDDLE[1]]


def _at_end(pass_rate: float, range_: dict[str, Any] | None, end: str) -> bool:
    """Whether the first (last) bin with an estimate is at the end. For ranges, only the outermost is."""
    if range_ is not None:
        return bool(range_["low"] == 0 if end == "low" else range_["high"] == 1)
    return pass_rate <= 0.1 if end == "low" else pass_rate >= 0.9


def by_rule(judged: dict[str, Any]) -> BinVerdict:
    """The verdict from the numbers of one end of a record, old or new. The words that the record stores are ignored."""
    if judged["difference"] is None or judged["middle_low"] <= 0:
        return "not decided"
    if judged["difference_low"] > 0:
        return "keeps at least half"
    return "has less than half" if judged["difference_high"] < 0 else "not decided"


def bin_name(panel: dict[str, Any], end: str) -> str:
    """The name of the end's bin: a range by its edges, a bin by its count if all its problems have the same, else by its mean pass rate."""
    if not panel["bins"]:
        return "the first bin" if end == "low" else "the last bin"
    row = panel["bins"][0 if end == "low" else -1]
    if row.get("range") is not None:
        return f"the range {row['range']['label']}"
    rate = row["pass_rate"]
    return {0.0: "the bin k = 0", 1.0: "the bin k = K"}.get(rate, f"the bin of mean pass rate {rate:.3g}")


def words(panel: dict[str, Any], end: str) -> str:
    """One sentence (no full stop) on one end's bin: the verdict and the numbers behind it, in SNR^2 and in SNR.

    panel: a probe's record, or one of the `steps` of a record at several updates.
    """
    judged, name = panel["verdict"][end], bin_name(panel, end)
    if judged["difference"] is None:
        return f"{name}: not decided, the bins there or in the middle hold too few problems"
    row = panel["bins"][0 if end == "low" else -1]
    middle = f"{judged['middle']:.4f} [{judged['middle_low']:.4f}, {judged['middle_high']:.4f}]"
    numbers = (
        f"SNR² {row['snr_squared']:.4f} [{row['snr_squared_low']:.4f}, {row['snr_squared_high']:.4f}] against {middle}; "
        f"SNR {_root(row['snr_squared']):.3f} against {_root(judged['middle']):.3f}; {_sample(row)}"
    )
    verdict = by_rule(judged)
    if verdict != "not decided":
        return f"{name} {verdict} of the middle's SNR² ({numbers})"
    if judged["middle_low"] <= 0:
        return f"{name}: not decided, the middle's own SNR² is not told from zero ({numbers})"
    needed = judged.get("problems_needed")
    more = "" if needed is None or needed <= row["n"] else f"; at least {needed} would be needed"
    return f"{name}: not decided whether it keeps half of the middle's SNR² ({numbers}{more})"


def _sample(row: dict[str, Any]) -> str:
    if row.get("range") is None:
        return f"{row['n']} problems a bin"
    return f"{row['n']} problems" + (f", of the {WANTED:,} wanted" if row["n"] < WANTED else "")


def _root(value: float) -> float:
    return math.sqrt(max(0.0, value))


def relation(end: dict[str, Any], middle: dict[str, Any]) -> Relation:
    """How SNR² at an end lies to the middle's, interval by interval."""
    if end["snr_squared_high"] < middle["middle_low"]:
        return "below"
    return "above" if end["snr_squared_low"] > middle["middle_high"] else "level"


def ends_to_middle(record: dict[str, Any], names: tuple[str, str]) -> str:
    """In words how both ends of a probe lie to its middle. names: of the lower end and of the upper."""
    if any(record["verdict"][end]["difference"] is None for end in ENDS):
        return "too few problems tell the ends from the middle"
    low, high = (relation(record["bins"][place], record["verdict"]["low"]) for place in (0, -1))
    return _BOTH[low] if low == high else f"{names[0]} {_RELATIONS[low]} the middle, and {names[1]} {_RELATIONS[high]} the middle"
