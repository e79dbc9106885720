"""How a figure says what it shows: a headline over its panels, and names beside curves in place of a legend.

The words of a headline are each figure's own, by what its intervals say; here is what they share.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

from paced_exp.plotting.labels import spread
from paced_exp.plotting.style import COLORS

HEADLINE_SIZE = 9  # points: above a panel's title of 8
LINE = 100  # characters of a headline that fit a page's width


def put(figure: Figure, headline: str) -> None:
    """Over all panels, from the left edge on."""
    figure.suptitle(headline, x=0.01, ha="left", fontsize=HEADLINE_SIZE)


def listed(names: Sequence[str]) -> str:
    """`A`, `A and B`, or `A, B and C`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def label(
    axis: Any, at: tuple[float, float], text: str, color: str, shift: tuple[float, float] = (0, 0), *, ha: str = "left", line: bool = False
) -> None:
    """A name `shift` points beside a place of the data, with a thin line to it where it does not stand next to it."""
    arrow = {"arrowstyle": "-", "color": COLORS[color], "lw": 0.5, "shrinkB": 2} if line else None
    style = {"color": COLORS[color], "fontsize": 7, "ha": ha, "va": "center", "annotation_clip": False}
    axis.annotate(text, at, shift, textcoords="offset points", arrowprops=arrow, **style)


Named = tuple[float, float, str, str]  # x and y of the last point of a curve, its name, and its colour


def name_beside(axis: Any, last: Iterable[Named], share: float) -> None:
    """Each curve right of the axis at the height of its last point, or as near as the others leave room, with a thin line to the point.

    share: of the axis' height, the least distance between two names.
    """
    last = list(last)
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    axis.set(xlim=(left, right), ylim=(bottom, top))
    heights = spread([y for _, y, *_ in last], share * (top - bottom))
    for (x, y, text, color), height in zip(last, heights, strict=True):
        axis.annotate(
            text,
            (x, y),
            xytext=(right + 0.03 * (right - left), height),
            annotation_clip=False,
            color=color,
            fontsize=6,
            va="center",
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.4, "shrinkB": 2},
        )
