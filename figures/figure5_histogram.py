"""Figure 5: how many evaluation problems the student passes how often, before and after training.

python -m figures.figure5_histogram [--out figures/out] [--results results] [--scale desk]
"""

from pathlib import Path
from typing import Any

import numpy as np

from figures.command import run
from paced_exp.plotting.style import COLORS, new_figure, save_figure
from paced_exp.reproduce.columns import tier_names
from paced_exp.reproduce.grids import main_table
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.measures import Measured, measure_row
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale

NAME = "figure5_histogram"
ROWS = (("base", "before", "grey", ""), ("uniform", "unweighted", "blue", "///"), ("paced", "PACED", "orange", "..."))
CAPTION = """
Share of evaluation problems by the number of correct samples ({samples} a problem), before training and after distillation by forward KL, unweighted and
weighted by PACED, at {scale} scale; mean over {seeds} seeds. {missing}
"""


def shares(measured: Measured, source: str) -> np.ndarray:
    """Share of a source's problems with 0, 1, ..., n correct samples, mean over seeds."""
    found = []
    for seed in measured.seeds:
        record = measured.of(seed)
        samples = record.content["scores"][source]["samples"]
        counts = np.rint(record.accuracy(source) * samples).astype(int)
        found.append(np.bincount(counts, minlength=samples + 1) / len(counts))
    return np.mean(found, axis=0)


def draw_tier(axis: Any, rows: dict[str, Measured], source: str, title: str) -> None:
    """Bars side by side, a group for each number of correct samples."""
    axis.set(title=title, xlabel="correct samples of a problem", ylabel="share of problems")
    axis.grid(visible=False, axis="x")
    there = [look for look in ROWS if rows[look[0]].records]
    for index, (name, label, color, hatch) in enumerate(there):
        share = shares(rows[name], source)
        width = 0.8 / len(there)
        at = np.arange(len(share)) - 0.4 + width * (index + 0.5)
        axis.bar(at, share, width, color=COLORS[color], edgecolor="white", hatch=hatch, linewidth=0.3, label=label)
    if there:
        axis.xaxis.get_major_locator().set_params(integer=True)
    else:
        axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=COLORS["grey"])


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw the three tiers into out/."""
    chosen: Scale = scale_named(scale, results)
    read = Results(results)
    table = main_table(chosen.protocol, "distillation")
    rows = {name: measure_row(read, chosen, table, table.row(name)) for name, *_ in ROWS}
    figure, axes = new_figure("double", 2.5, ncols=3, sharey=True)
    for axis, source, title in zip(axes, chosen.tiers, tier_names(chosen), strict=True):
        draw_tier(axis, rows, source, title)
    if axes[0].get_legend_handles_labels()[0]:
        axes[1].legend(*axes[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3)
    seeds = max(len(measured.seeds) for measured in rows.values())
    missing = "" if all(measured.records for measured in rows.values()) else "What is not drawn was not run."
    caption = CAPTION.format(scale=scale, samples=chosen.evaluation["samples"], seeds=seeds, missing=missing)
    return save_figure(figure, NAME, out, caption=caption)


if __name__ == "__main__":
    run(draw, __doc__)
