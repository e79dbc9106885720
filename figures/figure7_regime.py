"""Figure 7: what the weight gains over no weighting, against how often the training passes over its problems.

python -m figures.figure7_regime [--out figures/out] [--results results] [--scale desk]
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from figures.command import run
from paced_exp.plotting.labels import spread
from paced_exp.plotting.style import COLORS, MARKERS, new_figure, save_figure
from paced_exp.reproduce.findings import Finding
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.measures import combined, row_named
from paced_exp.reproduce.printed_table import fixed
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.significance import Estimate
from paced_exp.reproduce.verdict_parts import finding_text
from paced_exp.reproduce.verdicts import findings_by_name

NAME = "figure7_regime"
CHANGE = "R.regime"
METHODS = (("paced", "PACED", "orange"), ("paced-eb", "PACED, empirical Bayes", "sky"), ("hard-filter", "hard filter", "purple"))
CAPTION = """
Accuracy of a weighted run less that of the unweighted run, mean of tiers, in distillation at {scale} scale, against how often the updates pass over the
problems. Left of the line no method visits a problem twice; right of it all methods pass again and again over a random eighth of the pool, and passes are
those of the unweighted run. Both rows of a difference make equally many updates; a method that drops problems of weight zero passes more often over the
rest. Bars: 95 % intervals over seeds and problems. {change}
"""


@dataclass(frozen=True)
class Place:
    """A place on the axis: the table, and what the names of its rows end in. passes: 1 for one pass."""

    table: str
    ending: str
    updates: float
    one_pass: bool


PLACES = (
    Place("one-pass-short", "-short", 0.5, True),
    Place("one-pass", "", 1.0, True),
    Place("multi-pass", "-0.5", 0.5, False),
    Place("multi-pass", "-1", 1.0, False),
    Place("multi-pass", "-2", 2.0, False),
)


def effect(results: Results, scale: Scale, method: str, place: Place) -> Estimate | None:
    """The method less no weighting at a place; None where it is not a row there, or was not run."""
    try:
        rows = [row_named(results, scale, place.table, f"{name}{place.ending}") for name in (method, "uniform")]
    except KeyError:
        return None
    return combined([(1.0, rows[0]), (-1.0, rows[1])], scale.tiers)


def words(scale: Scale, place: Place) -> str:
    """What stands under a place: how many updates, and how many passes."""
    setup = scale.setups["distillation"]
    updates = round(setup.updates * place.updates)
    if place.one_pass:
        return f"one pass\n{updates} updates"
    return f"{fixed(updates * scale.shared['batch'] / (scale.limit / 8), 1)} passes\n{updates} updates"


def headline(change: Finding | None) -> str:
    """The message, by the hypothesis of the regime: as its interval says, and no more."""
    if change is None or change.low is None or change.high is None:
        return "What the weight gains, by passes over the data"
    if change.low > 0:
        return "The weight gains more in one pass than in many passes of twice the updates"
    if change.high < 0:
        return "The weight gains less in one pass than in many passes of twice the updates"
    return "No difference between one pass and many passes of twice the updates can be told"


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw into out/, or that nothing was run. The first protocol has no such rows. Raises `UserError` for a damaged record."""
    chosen, read = scale_named(scale, results), Results(results)
    figure, axis = new_figure("double", 3.0)
    change = findings_by_name(results, chosen).get(CHANGE)
    drawn = [_draw_method(axis, read, chosen, number) for number in range(len(METHODS))] if chosen.protocol == 2 else []
    _name(axis, [last for last in drawn if last is not None])
    axis.set_xticks(range(len(PLACES)), [words(chosen, place) for place in PLACES])
    axis.set(xlim=(-0.5, len(PLACES) + 0.4), ylabel="less unweighted, points of accuracy")
    axis.set_title(headline(change), loc="left")
    axis.axhline(0, color=COLORS["black"], lw=0.8)
    axis.axvline(sum(place.one_pass for place in PLACES) - 0.5, color=COLORS["grey"], lw=0.8, ls=":")
    axis.grid(visible=False, axis="x")
    if not any(drawn):
        axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=COLORS["grey"])
    said = (
        ""
        if change is None
        else f"One pass less many at twice the updates, PACED: {finding_text(change)}. The two differ in length as well as in repetition."
    )
    return save_figure(figure, NAME, out, caption=CAPTION.format(scale=scale, change=said))


Named = tuple[float, float, str, str]  # x and y of a last point, the name and the colour of its curve


def _draw_method(axis: Any, results: Results, scale: Scale, number: int) -> Named | None:
    """One method; the two regimes are not joined. Returns its last point, None where there was nothing to draw."""
    method, label, color = METHODS[number]
    found = {at: there for at, place in enumerate(PLACES) if (there := effect(results, scale, method, place)) is not None}
    shift = 0.07 * (number - (len(METHODS) - 1) / 2)
    for regime in (True, False):
        at = [index for index in found if PLACES[index].one_pass is regime]
        values = [found[index].value for index in at]
        errors = np.array([[found[index].value - found[index].low, found[index].high - found[index].value] for index in at]).T
        if at:
            style = {"color": COLORS[color], "marker": MARKERS[number], "capsize": 2, "lw": 1.0}
            axis.errorbar([index + shift for index in at], values, errors, **style)
    return (max(found) + shift, found[max(found)].value, label, COLORS[color]) if found else None


def _name(axis: Any, last: list[Named]) -> None:
    """Each method beside its last point, or as near as the others leave room."""
    bottom, top = axis.get_ylim()
    for (x, _, label, color), height in zip(last, spread([y for _, y, *_ in last], 0.07 * (top - bottom)), strict=True):
        axis.annotate(label, (x, height), xytext=(12, 0), textcoords="offset points", color=color, va="center")


if __name__ == "__main__":
    run(draw, __doc__)
