"""Figure 9: whether problems of different pass rates pull in one direction: cosines of their mean gradients, and the weight that follows.

python -m figures.figure9_bins [--out figures/out] [--results results] [--scale desk]
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures.command import run, undrawn
from figures.headlines import label, put
from paced_exp.probe.gram_figure import plot_gram
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.printed_table import fixed
from paced_exp.reproduce.probes import ALIGNMENT, probes_of
from paced_exp.reproduce.significance import side

NAME = "figure9_bins"
PULL = {1: "point the same way as", -1: "point against", 0: "share no clear direction with"}


def headline(gram: dict[str, Any]) -> str:
    """The message in two lines, by the intervals of the cosines of the ends with the middle."""
    if (pairs := _ends(gram)) is None:
        return "Whether problems of different pass rates pull the student in one direction"
    signs = [side(pair["low"], pair["high"]) for pair in pairs]
    return (
        f"Gradients of problems never solved {PULL[signs[0]]} those of the middle (pass rates 0.3 to 0.7),\n"
        f"{'and' if signs[0] == signs[1] else 'but'} gradients of problems always solved {PULL[signs[1]]} them"
    )


def cosines(gram: dict[str, Any]) -> str:
    """The numbers of the headline, over the left panel."""
    if (pairs := _ends(gram)) is None:
        return ""
    never, always = pairs
    return f"Cosine with the middle's gradient\nnever solved: {_interval(never)}\nalways solved: {_interval(always)}"


def _ends(gram: dict[str, Any]) -> list[dict[str, float]] | None:
    """Cosines of both ends with the middle and their intervals; None where an end has no bin or noise leaves no cosine or interval."""
    pairs = [gram["groups"][pair] for pair in ("low_middle", "middle_high")]
    return pairs if all(pair is not None and _known(pair) for pair in pairs) else None


def _known(found: dict[str, float | None]) -> bool:
    """Whether an estimate has a value and both ends of an interval: a record writes what noise leaves undefined as null."""
    return None not in found.values()


def _interval(pair: dict[str, float]) -> str:
    return f"{fixed(pair['cosine'], 2)} [{fixed(pair['low'], 2)}, {fixed(pair['high'], 2)}]"


def progress(gram: dict[str, Any]) -> str:
    """The message of the right panel: how much of the most progress per noise PACED's weight and no weighting make, or nothing if unknown."""
    found = [gram["efficiency"].get(name) for name in ("paced", "uniform")]
    if not all(share is not None and _known(share) for share in found):
        return ""
    paced, uniform = (f"{fixed(100 * s['value'], 0)} % [{fixed(100 * s['low'], 0)}, {fixed(100 * s['high'], 0)}]" for s in found)
    return f"Progress per noise, of the best weight's\nPACED: {paced}\nno weighting: {uniform}"


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw the bins of the scale's first probe against accuracy into out/, or that there is none. Raises `UserError` for a damaged record."""
    probes = probes_of(scale_named(scale, results), ALIGNMENT)
    if not probes or (record := probes[0].record(results)) is None:
        return undrawn(out, NAME, f"Cosines of the mean gradients of problems by pass rate at {scale} scale", probes[:1])
    # Of several updates, or of an older record without what it speaks of, there is no headline.
    plain = "steps" in record or not {"groups", "efficiency"} <= record.get("gram", {}).keys()
    return plot_gram(record, out, NAME, None if plain else partial(_say, record["gram"]))


def _say(gram: dict[str, Any], figure: Figure) -> None:
    """Headline, and names in the picture in place of the legend."""
    left, right, *_ = figure.axes
    left.set_title(cosines(gram), loc="left")
    right.set_title(progress(gram), loc="left")
    _name_curves(right)
    put(figure, headline(gram))


def _name_curves(axis: Any) -> None:
    """Names in the picture in place of the legend: PACED's over its peak, the measured one under its longest interval in the left half."""
    axis.get_legend().remove()
    axis.set_ylim(top=1.1 * axis.get_ylim()[1])
    for line in axis.get_lines():
        if str(line.get_label()).startswith("PACED"):
            peak = int(np.argmax(line.get_ydata()))
            label(axis, tuple(line.get_xydata()[peak]), "PACED's weight p(1−p)", "orange", (0, 10), ha="center")
    points = axis.containers[0].lines[0].get_xydata()
    label(axis, (points[len(points) // 4][0], 0), "weight of most progress per noise,\n95 % intervals", "blue", (0, 14))


if __name__ == "__main__":
    run(draw, __doc__)
