"""Figure 11: forgetting against accuracy, every row of the table `neighbours`: does PACED's weight forget less than a penalty made for it?

python -m figures.figure11_forgetting [--out figures/out] [--results results] [--scale desk]
"""

from pathlib import Path
from textwrap import wrap
from typing import Any

from figures.command import run
from figures.headlines import LINE, listed, name_beside, put
from paced_exp.plotting.style import COLORS, MARKERS, new_figure, save_figure
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.measures import Measured, combined, forgettings, measure_row, primaries
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.significance import mean_and_error, side

NAME = "figure11_forgetting"
TABLE = "neighbours"
# By kind of method: without anything against forgetting, with something, fewer tokens, and policy gradients.
LOOKS = {
    "uniform": ("blue", 0),
    "paced": ("orange", 3),
    "ewc": ("green", 1),
    "kl": ("green", 2),
    "classp": ("green", 4),
    "uniform-half": ("sky", 0),
    "paced-half": ("sky", 3),
}
POLICY = "purple"
PENALTIES = {"ewc": "EWC", "kl": "KL to the start", "classp": "CLASSP"}  # made against forgetting, each on no weighting
THAN = {1: "less than", -1: "more than"}
CAPTION = """
Forgetting (the untrained student's accuracy on the retention problems less the trained one's, in points) against the mean accuracy of the three tiers, at {scale}
scale, table 36. Up and to the left is better. Points: means over seeds; bars: their standard errors. Dashed: the untrained student. Green: something is done
against forgetting; purple: policy gradients, which have no teacher. {missing}
"""


def drawn_rows(results: Results, scale: Scale) -> tuple[Measured, list[Measured]]:
    """The untrained student, and the trained rows that were run."""
    table = BY_NAME[TABLE]
    measured = [measure_row(results, scale, table, row) for row in table.rows]
    return measured[0], [row for row in measured[1:] if row.records and row.base is not None]


def kept_over(rows: list[Measured], scale: Scale) -> dict[str, int]:
    """By penalty that was run: 1 where PACED retains more than it, -1 where less, 0 where the interval of the difference holds zero."""
    named = {measured.row.name: measured for measured in rows}
    found = {}
    for penalty in PENALTIES:
        if "paced" in named and penalty in named:
            estimate = combined([(1.0, named["paced"]), (-1.0, named[penalty])], (scale.retention,))
            if estimate is not None:
                found[penalty] = side(estimate.low, estimate.high)
    return found


def headline(found: dict[str, int]) -> str:
    """The message: PACED beside each penalty made against forgetting, as the intervals of the differences say."""
    if not found:
        return "How much accuracy on other skills each method costs"
    by_sign = {direction: [PENALTIES[name] for name, told in found.items() if told == direction] for direction in (1, -1, 0)}
    parts = [f"{words} {listed(by_sign[direction])}" for direction, words in THAN.items() if by_sign[direction]]
    if not parts:
        text = f"There is no clear difference in forgetting between PACED's weight and {listed(by_sign[0])}"
    else:
        open_ = f"; no difference from {listed(by_sign[0])} is clear" if by_sign[0] else ""
        text = f"PACED's weight forgets {' and '.join(parts)}{open_}"
    return "\n".join(wrap(text, LINE))


def draw_panel(axis: Any, results: Results, scale: Scale) -> bool:
    """All rows; says whether anything was there to draw."""
    base, rows = drawn_rows(results, scale)
    axis.set(xlabel="forgetting, points", ylabel="accuracy, mean of tiers, %")
    if not rows:
        axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=COLORS["grey"])
        return False
    axis.axhline(primaries(base, scale)[0], color=COLORS["grey"], linestyle="--", lw=0.9)
    axis.axvline(0, color=COLORS["grey"], linestyle="--", lw=0.9)
    policies, last = 0, []
    for measured in rows:
        color, marker = LOOKS.get(measured.row.name, (POLICY, policies % len(MARKERS)))
        policies += measured.row.name not in LOOKS
        x, x_error = mean_and_error(forgettings(measured, scale.retention))
        y, y_error = mean_and_error(primaries(measured, scale))
        axis.errorbar(
            x,
            y,
            y_error or 0.0,
            x_error or 0.0,
            color=COLORS[color],
            marker=MARKERS[marker],
            capsize=2,
            lw=0.9,
            ls="none",
            label=measured.row.label,
        )
        last.append((x, y, measured.row.label, COLORS[color]))
    name_beside(axis, last, 0.045)
    return True


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw the table's rows into out/."""
    figure, axis = new_figure("double", 3.6)
    chosen, read = scale_named(scale, results), Results(results)
    drawn = draw_panel(axis, read, chosen)
    if drawn:
        put(figure, headline(kept_over(drawn_rows(read, chosen)[1], chosen)))
    return save_figure(figure, NAME, out, caption=CAPTION.format(scale=scale, missing="" if drawn else "Nothing was run."))


if __name__ == "__main__":
    run(draw, __doc__)
