"""Figure 11: forgetting against accuracy, every row of the table `neighbours`: does PACED's weight forget less than a penalty made for it?

python -m figures.figure11_forgetting [--out figures/out] [--results results] [--scale desk]
"""

from pathlib import Path
from typing import Any

from figures.command import run
from paced_exp.plotting.style import COLORS, MARKERS, new_figure, save_figure
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.measures import Measured, forgettings, measure_row, primaries
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.significance import mean_and_error

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


def draw_panel(axis: Any, results: Results, scale: Scale) -> bool:
    """All rows; says whether anything was there to draw."""
    base, rows = drawn_rows(results, scale)
    axis.set(xlabel="forgetting, points", ylabel="accuracy, mean of tiers, %")
    if not rows:
        axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=COLORS["grey"])
        return False
    axis.axhline(primaries(base, scale)[0], color=COLORS["grey"], linestyle="--", lw=0.9)
    axis.axvline(0, color=COLORS["grey"], linestyle="--", lw=0.9)
    policies = 0
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
    axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=6, frameon=False)
    return True


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw the table's rows into out/."""
    figure, axis = new_figure("double", 3.6)
    drawn = draw_panel(axis, Results(results), scale_named(scale, results))
    return save_figure(figure, NAME, out, caption=CAPTION.format(scale=scale, missing="" if drawn else "Nothing was run."))


if __name__ == "__main__":
    run(draw, __doc__)
