"""Figure 8: the bell beside the slope: what a problem's gradient does for accuracy on other problems, and how much gradients agree.

python -m figures.figure8_utility [--out figures/out] [--results results] [--scale desk]
"""

from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from figures.command import run, undrawn
from figures.headlines import label, put
from paced_exp.plotting.style import COLORS
from paced_exp.probe.accuracy_figure import plot_accuracy
from paced_exp.probe.verdict import ends_to_middle
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.probes import ALIGNMENT, probes_of
from paced_exp.reproduce.significance import side

NAME = "figure8_utility"
ENDS = ((0, "never"), (-1, "always"))  # the bin, and how often the student solves its problems
STEP = {1: "raises accuracy on other problems", -1: "lowers accuracy on other problems", 0: "has no clear effect on other problems"}


def effects(record: dict[str, Any]) -> dict[str, int]:
    """The sign that a step has on other problems' accuracy at both ends, where SGD's and Adam's steps have the same; 0 where it is not told."""
    found = {}
    for at, end in ENDS:
        rows = [record["accuracy"]["metrics"][metric]["bins"][at] for metric in ("sgd", "adam")]
        signs = {side(row["low"], row["high"]) for row in rows}
        found[end] = signs.pop() if len(signs) == 1 else 0
    return found


def headline(record: dict[str, Any]) -> str:
    """The message in two lines: what a step does at either end, where PACED's weight is zero, by the intervals of both optimisers."""
    never, always = effects(record).values()
    joined = "and" if never == always else "but"
    return (
        f"A step on problems that the student never solves {STEP[never]},\n"
        f"{joined} one on those that it always solves {STEP[always].removesuffix(' problems')}s; PACED's weight is zero for both"
    )


def agreement(record: dict[str, Any]) -> str:
    """The message of the left panel, by the intervals at the ends."""
    return f"SNR: {ends_to_middle(record, ('k = 0', 'k = K'))}"


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw the scale's first probe against accuracy into out/, or that there is none. Raises `UserError` for a damaged record."""
    probes = probes_of(scale_named(scale, results), ALIGNMENT)
    if not probes or (record := probes[0].record(results)) is None:
        return undrawn(out, NAME, f"Utility for accuracy, and gradient SNR, against the pass rate at {scale} scale", probes[:1])
    # Of several updates, or of bins without the ends, the headline cannot speak.
    plain = "steps" in record or not record["bins"] or record["bins"][0]["pass_rate"] > 0 or record["bins"][-1]["pass_rate"] < 1
    return plot_accuracy(record, out, NAME, None if plain else partial(_say, record))


def _say(record: dict[str, Any], figure: Figure) -> None:
    """Headline, and names in the picture in place of the legends."""
    left, right = figure.axes
    left.set_title(agreement(record), loc="left")
    right.set_title("What a step does for accuracy on other problems", loc="left")
    for axis in (left, right):
        axis.get_legend().remove()
        axis.set_xlabel("pass rate of the student, k/K; bars: 95 % intervals")
    _name_curves(right)
    put(figure, headline(record))


def _name_curves(axis: Any) -> None:
    """Names in the picture in place of the legend: PACED's over its peak, the steps' under their curves, where no interval reaches."""
    axis.set_ylim(top=1.15 * axis.get_ylim()[1])
    for line in axis.get_lines():
        if str(line.get_label()).startswith("PACED"):
            x, y = line.get_xydata()[len(line.get_xydata()) // 2]
            label(axis, (x, y), "PACED's weight p(1−p), of the same mean", "grey", (0, 24), ha="center", line=True)
    for container, color, share, place in zip(axis.containers, ("blue", "orange"), (0.4, 0.6), (0.24, 0.5), strict=True):
        points = container.lines[0].get_xydata()
        arrow = {"arrowstyle": "-", "color": COLORS[color], "lw": 0.5, "shrinkB": 2}
        style = {"color": COLORS[color], "fontsize": 7, "textcoords": axis.transAxes, "arrowprops": arrow}
        axis.annotate(container.get_label(), tuple(points[int(share * len(points))]), (place, 0.18), **style)


if __name__ == "__main__":
    run(draw, __doc__)
