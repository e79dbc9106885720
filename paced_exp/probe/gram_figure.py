"""The figure of the Gram matrix of a probe's bins: a heat map of cosines, and the resulting weight. Drawn from the record alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from paced_exp.plotting.style import COLORS, new_figure, save_figure
from paced_exp.weighting import METHODS
from paced_theory.kernels import BetaKernel


def plot_gram(
    record: dict[str, Any], folder: str | Path, name: str = "gram", retouch: Callable[[Figure], object] | None = None
) -> list[Path]:
    """Write `gram_figure` as PDF, PNG, SVG and caption into `folder`. Returns the files, or none if the record has no Gram matrix.

    retouch: what is done to the figure before it is written, such as a title of one's own.
    """
    panels = record.get("steps", [record])
    if any(not panel.get("gram", {}).get("pass_rate") for panel in panels):
        return []
    figure = gram_figure(record)
    if retouch is not None:
        retouch(figure)
    return save_figure(figure, name, folder, caption=_caption(record, panels))


def gram_figure(record: dict[str, Any]) -> Figure:
    """Cosines of the bins' mean gradients (left) and the weight of most progress (right), with a row of panels for each update of `at_steps`."""
    panels = record.get("steps", [record])
    figure, axes = new_figure("double", 3.3 * len(panels), nrows=len(panels), ncols=2, squeeze=False, width_ratios=(1.15, 1))
    for (left, right), panel in zip(axes, panels, strict=True):
        _draw_cosines(figure, left, panel["gram"])
        _draw_weight(right, panel["gram"])
        if "step" in panel:
            left.set_title(f"before update {panel['step']}", loc="left")
    return figure


def _draw_cosines(figure: Figure, axes: Any, gram: dict[str, Any]) -> None:
    """Squares above the diagonal, red for equal directions and blue for opposite ones, and numbers below it.

    The shorter the interval, the larger the square, so that noise does not stand out. A number is bold if its interval excludes 0.
    """
    cosine, low, high = (np.array(gram[name], dtype=float) for name in ("cosine", "cosine_low", "cosine_high"))
    bins = len(cosine)
    colors = ScalarMappable(Normalize(-1, 1), "RdBu_r")  # readable for colour-blind readers; white is 0
    for i in range(bins):
        axes.add_patch(Rectangle((i - 0.5, i - 0.5), 1, 1, facecolor=COLORS["grey"], alpha=0.3, lw=0))
        for j in range(i):
            known = not np.isnan(cosine[i, j])
            side = max(0.25, 1 - (high[i, j] - low[i, j]) / 2)
            face = colors.to_rgba(cosine[i, j]) if known else COLORS["grey"]
            axes.add_patch(Rectangle((j - side / 2, i - side / 2), side, side, facecolor=face, edgecolor=COLORS["grey"], lw=0.4))
            weight = "bold" if low[i, j] > 0 or high[i, j] < 0 else "normal"
            axes.text(i, j, _shown(cosine[i, j]), ha="center", va="center", fontsize=min(6.0, 66 / bins), weight=weight)
    labels = [f"{rate:.2g}" for rate in gram["pass_rate"]]
    axes.set_xticks(range(bins), labels)
    axes.set_yticks(range(bins), labels)
    axes.set(xlabel="pass rate of one bin, k/K", ylabel="pass rate of the other", aspect="equal")
    axes.set(xlim=(-0.5, bins - 0.5), ylim=(-0.5, bins - 0.5))
    axes.grid(False)
    figure.colorbar(colors, ax=axes, label="cosine of the mean gradients", shrink=0.85, ticks=(-1, -0.5, 0, 0.5, 1))


def _shown(cosine: float) -> str:
    """Two decimals without a leading zero, to leave room for a minus sign."""
    return "?" if np.isnan(cosine) else f"{cosine + 0.0:.2f}".replace("0.", ".", 1).replace("-", "−").replace("−.00", ".00")


def _draw_weight(axes: Any, gram: dict[str, Any]) -> None:
    """a_b / m_b with the interval of a_b, scaled so that the fitted weight has mean one, with PACED's weight for comparison."""
    p, a, m = (np.array(gram[name], dtype=float) for name in ("pass_rate", "alignment", "second_moment"))
    errors = np.stack([a - np.array(gram["alignment_low"]), np.array(gram["alignment_high"]) - a]) / m
    scale = float(np.abs(a / m).mean()) if gram["fitted"] is None else float(np.maximum(a / m, 0).mean())
    axes.axhline(0, color=COLORS["black"], lw=0.6)
    label = "most progress per noise, 95 % interval"
    axes.errorbar(p, a / m / scale, errors / scale, color=COLORS["blue"], marker="o", capsize=2, label=label)
    grid = np.linspace(0, 1, 101)
    paced = BetaKernel()
    mean = float(paced(p).mean())
    if mean > 0:
        axes.plot(grid, paced(grid) / mean, color=COLORS["orange"], ls="--", label=f"{METHODS['paced'].label}, p(1−p)")
    axes.set(xlabel="pass rate of the student, k/K", ylabel="weight, mean one over bins", xlim=(-0.03, 1.03))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))


def _caption(record: dict[str, Any], panels: list[dict[str, Any]]) -> str:
    config = record["config"]
    rows = f"Rows: the student before updates {', '.join(str(panel['step']) for panel in panels)}. " if "steps" in record else ""
    return (
        f"Mean gradients of problems with different pass rates, k/K from K = {config['K']} rollouts ({config['student']} distilled from "
        f"{config['teacher']}). {rows}Left: cosines of the true mean gradients of two bins, from unbiased inner products; the ratio of estimates can "
        "exceed 1 and is clamped; the longer the 95 % interval (over problems), the smaller the square; bold where it leaves out 0; grey and ? where "
        "a bin's mean is not told from zero. Right: "
        "the weight of most progress along the mean gradient of the unweighted pool per unit of gradient noise, ⟨μ, G⟩ / E‖g‖² of each bin, with "
        "the 95 % interval of ⟨μ, G⟩ and scaled so that its positive part has mean one over the bins; below zero a bin pulls against the pool."
    )
