"""Figure 5: how many evaluation problems the student passes how often, before and after training.

python -m figures.figure5_histogram [--out figures/out] [--results results] [--scale desk]
"""

from pathlib import Path
from typing import Any

import numpy as np

from figures.command import run
from figures.headlines import put
from paced_exp.plotting.labels import spread
from paced_exp.plotting.style import COLORS, new_figure, save_figure
from paced_exp.reproduce.columns import tier_names
from paced_exp.reproduce.grids import main_table
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.measures import Measured, common_seeds, measure_row, strata_of
from paced_exp.reproduce.printed_table import fixed
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.significance import Estimate, crossed, side

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


def share_differences(paced: Measured, uniform: Measured, scale: Scale) -> tuple[Estimate, Estimate] | None:
    """PACED less no weighting, in points: the share of problems with no correct sample, and with all correct. None below two common seeds."""
    seeds = common_seeds([paced, uniform])
    if len(seeds) < 2:
        return None
    # One row at a time, for a share is no sum of accuracies; the sum of both says whether they answered the same problems.
    strata_of([(1.0, paced), (-1.0, uniform)], scale.tiers, seeds)
    rows = [strata_of([(1.0, row)], scale.tiers, seeds) for row in (paced, uniform)]
    never, always = (
        crossed([100.0 * (np.isclose(left, at).astype(float) - np.isclose(right, at)) for left, right in zip(*rows, strict=True)])
        for at in (0, 100)
    )
    return never, always


def headline(found: tuple[Estimate, Estimate] | None) -> str:
    """The message in two lines: what PACED changes at both ends of the picture, as the intervals say."""
    if found is None:
        return "How many problems the student solves how often, before and after training"
    never, always = (_change(estimate, end) for estimate, end in zip(found, ("never", "always"), strict=True))
    return f"After PACED rather than unweighted training, {never},\nand {always} (points: % of the problems, mean of tiers)"


def _change(estimate: Estimate, end: str) -> str:
    """The change of a share: its direction and size where its interval has one."""
    direction = side(estimate.low, estimate.high)
    if direction == 0:
        return f"there is no clear difference in problems {end} solved [{fixed(estimate.low, 1)}, {fixed(estimate.high, 1)}]"
    low, high = sorted(abs(bound) for bound in (estimate.low, estimate.high))
    size = f"{fixed(abs(estimate.value), 1)} points [{fixed(low, 1)}, {fixed(high, 1)}]"
    return f"{size} {'more' if direction > 0 else 'fewer'} problems are {end} solved"


def draw_tier(axis: Any, rows: dict[str, Measured], source: str, title: str) -> None:
    """Bars side by side, a group for each number of correct samples."""
    axis.set_title(f"problems of tier {title}", loc="left")
    axis.set(xlabel="correct samples of a problem")
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


def name_bars(axis: Any) -> None:
    """The rows' names right of their first bars, with a line to the top of each, as no two of them end at one height."""
    bottom, top = axis.get_ylim()
    bars = [container[0] for container in axis.containers]
    heights = spread([bar.get_height() for bar in bars], 0.08 * (top - bottom))
    for container, bar, height in zip(axis.containers, bars, heights, strict=True):
        color = bar.get_facecolor()
        at = (bar.get_x() + bar.get_width() / 2, bar.get_height())
        arrow = {"arrowstyle": "-", "color": color, "lw": 0.5, "shrinkB": 0}
        axis.annotate(
            container.get_label(), at, (0.8, height + 0.03 * (top - bottom)), color=color, fontsize=7, va="center", arrowprops=arrow
        )


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw the three tiers into out/."""
    chosen: Scale = scale_named(scale, results)
    read = Results(results)
    table = main_table(chosen.protocol, "distillation")
    rows = {name: measure_row(read, chosen, table, table.row(name)) for name, *_ in ROWS}
    figure, axes = new_figure("double", 2.5, ncols=3, sharey=True)
    for axis, source, title in zip(axes, chosen.tiers, tier_names(chosen), strict=True):
        draw_tier(axis, rows, source, title)
    axes[0].set(ylabel="share of problems")
    name_bars(axes[-1])  # the hardest tier: its first bars are the highest, and beside them there is room
    put(figure, headline(share_differences(rows["paced"], rows["uniform"], chosen)))
    seeds = max(len(measured.seeds) for measured in rows.values())
    missing = "" if all(measured.records for measured in rows.values()) else "What is not drawn was not run."
    caption = CAPTION.format(scale=scale, samples=chosen.evaluation["samples"], seeds=seeds, missing=missing)
    return save_figure(figure, NAME, out, caption=caption)


if __name__ == "__main__":
    run(draw, __doc__)
