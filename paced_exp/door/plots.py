"""Figures of results, in the style of this package's figures; the user's own matplotlib settings stay as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np


@contextmanager
def in_style() -> Iterator[Any]:
    """Give the module `paced_exp.plotting.style`. Its import changes matplotlib's settings, which are restored at the end of the block."""
    with matplotlib.rc_context():
        from paced_exp.plotting import style

        matplotlib.rcParams.update(style.RC)
        yield style


def weights_figure(pass_rates: np.ndarray, weights: np.ndarray, scheme: str) -> Any:
    """Weights (n,) against pass rates (n,), above a histogram. The area of a circle grows with the number of problems at that point."""
    points, problems = np.unique(np.column_stack([pass_rates, weights]), axis=0, return_counts=True)
    with in_style() as style:
        figure, (top, bottom) = style.new_figure("single", 3.4, nrows=2, sharex=True, height_ratios=(2, 1))
        top.scatter(*points.T, s=10 + 90 * problems / problems.max(), color=style.COLORS["blue"], alpha=0.7, clip_on=False)
        top.set(ylabel="weight", ylim=(0, 1.1 * weights.max() or 1.0), title=f"weights by {scheme}")
        few = np.unique(pass_rates)
        step = np.diff(few).min() if 1 < len(few) <= 17 else 0.1
        edges = np.linspace(0, 1, 11) if len(few) > 17 else np.append(few - step / 2, few[-1] + step / 2)
        bottom.hist(pass_rates, bins=edges, color=style.COLORS["grey"])
        bottom.set(xlabel="pass rate k/K", ylabel="problems", xlim=(-0.08, 1.08))
    return figure


def loss_figure(updates: Any) -> Any:
    """The loss of every update. updates: a frame with a row for each."""
    with in_style() as style:
        figure, axes = style.new_figure("single", 2.4)
        axes.plot(np.arange(1, len(updates) + 1), updates["loss"], color=style.COLORS["blue"])
        axes.set(xlabel="update", ylabel="loss, nats a token", ylim=(0, None))
    return figure


def evaluation_figure(record: dict[str, Any]) -> Any:
    """mean@n of each source with its interval, and beside it the paired differences if the evaluation has a comparison."""
    against, rows = record["against"], record["sources"]
    with in_style() as style:
        figure, axes = style.new_figure("double", 0.8 + 0.4 * len(rows), ncols=2 if against else 1, sharey=True, squeeze=False)
        _intervals(axes[0, 0], [row["mean"] for row in rows], style.COLORS["blue"])
        axes[0, 0].set(xlabel=f"mean@{rows[0]['samples']}, %", yticks=range(len(rows)), yticklabels=[row["source"] for row in rows])
        axes[0, 0].invert_yaxis()
        if against:
            _intervals(axes[0, 1], [row["mean"] for row in against["differences"]], style.COLORS["orange"])
            axes[0, 1].axvline(0, color=style.COLORS["black"], lw=0.6)
            axes[0, 1].set(xlabel=f"less {against['model']}, points")
    return figure


def _intervals(axes: Any, intervals: list[dict[str, float | None]], color: str) -> None:
    """Draw a point for each value with its interval, which does not exist for a single problem."""
    for place, interval in enumerate(intervals):
        value, low, high = interval.values()
        ends = [[0.0], [0.0]] if value is None or low is None or high is None else [[100 * (value - low)], [100 * (high - value)]]
        axes.errorbar([100 * (value or 0.0)], [place], xerr=ends, color=color, marker="o", capsize=2)
