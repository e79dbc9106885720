"""Figure 4: accuracy against training compute, every method of the distillation and self-distillation tables, and more or fewer updates.

python -m figures.figure4_compute [--out figures/out] [--results results] [--scale desk]
"""

from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from figures.command import run
from figures.headlines import name_beside, put
from paced_exp.plotting.style import COLORS, MARKERS, new_figure, save_figure
from paced_exp.reproduce.advice import AtCompute, at_equal_compute
from paced_exp.reproduce.front_effects import points as in_points
from paced_exp.reproduce.front_effects import sign
from paced_exp.reproduce.grids import BY_NAME, main_table
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.measures import Measured, measure_row, primaries
from paced_exp.reproduce.printed_table import fixed
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.significance import mean_and_error

NAME = "figure4_compute"
SETUPS = ("distillation", "self-distillation")
LENGTHS = {1: ("compute",), 2: ("total-compute", "kernels-one-pass")}  # by protocol, in distillation: tables with other lengths and kernels
ENDINGS = ("-half", "-double", "-short", "-whole")  # of its rows
LOOKS = {
    "uniform": ("blue", 0),
    "hard-filter": ("purple", 1),
    "akl": ("green", 2),
    "paced": ("orange", 3),
    "paced-posterior": ("sky", 4),
    "paced-eb": ("sky", 4),
    "aligned": ("black", 5),
    "akl-rollouts": ("green", 2),
    "akl-references": ("green", 5),
    "gaussian": ("grey", 0),
    "grpo": ("grey", 1),
    "maxrl": ("grey", 2),
    "focal": ("grey", 3),
    "da-kd": ("grey", 4),
    "paced-akl": ("green", 3),
    "fitted": ("black", 0),
}
CAPTION = """
Mean accuracy of the three tiers against the floating-point operations spent on a run (training, the teacher's statistics, pass-rate rollouts and on-policy
rollouts; neither sampling the references nor the evaluation), at {scale} scale. Points: means over seeds; bars: their standard errors. Points of one method on one line differ in the number
of updates. The plug-in weight spends more than empirical Bayes, since it makes rollouts of more problems for those that it drops. The probe behind the
measured weights is not counted. Dashed: the untrained student. {missing}
"""


def headline(found: AtCompute | None) -> str:
    """The message: PACED beside no weighting at equal compute, as the interval says, or that the runs for it are not there."""
    if found is None:
        return "What accuracy costs in compute, the rollouts that make the weights counted"
    share = "as much compute" if found.plain == found.spent else f"{fixed(100 * found.plain / found.spent, 0)} % of PACED's compute"
    size = in_points(found.estimate).replace("*", "").replace("points", "points of accuracy")
    told = {
        1: f"PACED beats unweighted training on {share}\nby {size}",
        -1: f"unweighted training on {share}\nbeats PACED by {size}",
        0: f"PACED cannot be told from unweighted training\non {share}: the difference is {size}",
    }
    return f"With the rollouts for its weights counted, {told[sign(found.estimate)]}"


def points(results: Results, scale: Scale, tables: tuple[str, ...]) -> dict[str, list[Measured]]:
    """The measured rows by method: the row's name up to one of `ENDINGS`, each run once."""
    found: dict[str, dict[str, Measured]] = {}
    for table in tables:
        for row in BY_NAME[table].rows:
            measured = measure_row(results, scale, BY_NAME[table], row)
            if row.options is not None and measured.records:
                method = next((row.name.removesuffix(ending) for ending in ENDINGS if row.name.endswith(ending)), row.name)
                found.setdefault(method, {})[row.name] = measured
    return {method: list(rows.values()) for method, rows in found.items()}


def draw_panel(axis: Any, results: Results, scale: Scale, title: str) -> bool:
    """One setup; says whether anything was there to draw."""
    table = main_table(scale.protocol, title)
    tables = (table.name, *LENGTHS[scale.protocol]) if title == "distillation" else (table.name,)
    axis.set_title(title, loc="left")
    axis.set(xlabel="TFLOPs of a run, rollouts included", ylabel="accuracy, mean of tiers, %")
    found = points(results, scale, tables)
    base = measure_row(results, scale, table, table.row("base"))
    if base.records:
        axis.axhline(primaries(base, scale)[0], color=COLORS["grey"], linestyle="--", lw=0.9)
        beside = {"xytext": (-2, 3), "textcoords": "offset points", "xycoords": axis.get_yaxis_transform(), "ha": "right"}
        axis.annotate("untrained student", (1, primaries(base, scale)[0]), color=COLORS["grey"], fontsize=6, **beside)
    last = []
    for method, rows in found.items():
        color, marker = LOOKS[method]
        at = []
        for measured in rows:
            x, _ = mean_and_error([measured.of(seed).flops / 1e12 for seed in measured.seeds])
            y, error = mean_and_error(primaries(measured, scale))
            at.append((x, y, error or 0.0))
        x, y, error = zip(*sorted(at), strict=True)
        axis.errorbar(x, y, error, color=COLORS[color], marker=MARKERS[marker], capsize=2, lw=0.9, label=_label(rows[0]))
        last.append((x[-1], y[-1], _label(rows[0]), COLORS[color]))
    axis.xaxis.set_major_locator(MaxNLocator(5))
    if found:
        name_beside(axis, last, 0.055)
    else:
        axis.text(0.5, 0.65, "not run", transform=axis.transAxes, ha="center", color=COLORS["grey"])
    return bool(found)


def _label(measured: Measured) -> str:
    """A method without how long it was trained."""
    return measured.row.label.partition(", half")[0].partition(", all problems")[0]


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw both setups into out/."""
    figure, axes = new_figure("double", 3.6, ncols=2)
    chosen, read = scale_named(scale, results), Results(results)
    drawn = [draw_panel(axis, read, chosen, title) for axis, title in zip(axes, SETUPS, strict=True)]
    put(figure, headline(at_equal_compute(read, chosen, "paced") if chosen.protocol == 2 else None))
    missing = "" if all(drawn) else "A panel without points was not run."
    return save_figure(figure, NAME, out, caption=CAPTION.format(scale=scale, missing=missing))


if __name__ == "__main__":
    run(draw, __doc__)
