"""The figure of gradient SNR and of utility for the expected accuracy against the pass rate, drawn from a probe's record."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paced_exp.losses.divergences import DIVERGENCES
from paced_exp.plotting.style import COLORS, new_figure, save_figure

_METRICS = {"sgd": ("a step of SGD", "blue", "o", "-"), "adam": ("a step of Adam", "orange", "s", "--")}


def plot_accuracy(
    record: dict[str, Any], folder: str | Path, name: str = "accuracy_curve", retouch: Callable[[Figure], object] | None = None
) -> list[Path]:
    """Write `accuracy_figure` as PDF, PNG, SVG and caption into `folder`. Returns the files, or none if no bin was measured.

    retouch: what is done to the figure before it is written, such as a title of one's own.
    """
    probes = record.get("steps", [record])
    if not all(probe["bins"] and probe["accuracy"]["metrics"] for probe in probes):
        return []
    figure = accuracy_figure(record)
    if retouch is not None:
        retouch(figure)
    return save_figure(figure, name, folder, caption=_caption(record, probes))


def accuracy_figure(record: dict[str, Any]) -> Figure:
    """Gradient SNR (left) and utility (right), with a row of panels for each update of `at_steps`."""
    probes = record.get("steps", [record])
    figure, axes = new_figure("double", 3.2 * len(probes), nrows=len(probes), ncols=2, squeeze=False)
    for (left, right), probe in zip(axes, probes, strict=True):
        _draw_snr(left, probe["bins"])
        _draw_utility(right, probe["accuracy"]["metrics"])
        before = f" before update {probe['step']}" if "step" in probe else ""
        left.set_title(f"How much gradients agree{before}", loc="left")
        right.set_title(f"What a step does to accuracy on other problems{before}", loc="left")
    config = record["config"]
    figure.suptitle(f"{config['student']} distilled from {config['teacher']}, {DIVERGENCES[config['divergence']].label}", fontsize=8)
    return figure


def _column(rows: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([row[key] for row in rows], dtype=float)


def _errors(rows: list[dict[str, Any]], value: str, low: str, high: str) -> np.ndarray:
    middle = _column(rows, value)
    return np.asarray(np.stack([middle - _column(rows, low), _column(rows, high) - middle]).clip(0))


def _draw_snr(axes: Any, rows: list[dict[str, Any]]) -> None:
    errors = _errors(rows, "snr", "snr_low", "snr_high")
    axes.errorbar(
        _column(rows, "pass_rate"), _column(rows, "snr"), errors, color=COLORS["green"], marker="^", capsize=2, label="gradient SNR"
    )
    axes.set(xlabel="pass rate of the student, k/K", ylabel="gradient SNR  ‖E g‖ / √tr Cov g", xlim=(-0.03, 1.03), ylim=(0, None))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _draw_utility(axes: Any, metrics: dict[str, Any]) -> None:
    axes.axhline(0, color=COLORS["black"], lw=0.6)
    heights = []
    for shift, (metric, (label, color, marker, line)) in zip((-0.006, 0.006), _METRICS.items(), strict=True):
        rows = metrics[metric]["bins"]
        size = _size(rows)
        values, errors = _column(rows, "utility") / size, _errors(rows, "utility", "low", "high") / size
        axes.errorbar(
            _column(rows, "pass_rate") + shift, values, errors, color=COLORS[color], marker=marker, ls=line, capsize=2, label=label
        )
        heights.append(values)
    p, rates = np.linspace(0, 1, 101), _column(metrics["sgd"]["bins"], "pass_rate")
    scale = float(np.mean(heights[0])) / max(float(np.mean(rates * (1 - rates))), 1e-12)
    if scale > 0:
        axes.plot(p, scale * p * (1 - p), color=COLORS["grey"], ls=":", label="PACED's weight p(1−p), of the same mean")
    axes.set(
        xlabel="pass rate of the student, k/K",
        ylabel="accuracy gained by a step of one size,\nrelative to the mean of the bins",
        xlim=(-0.03, 1.03),
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _size(rows: list[dict[str, Any]]) -> float:
    """The mean |utility| of the bins, used as a unit so that both metrics can share an axis."""
    return float(np.abs(_column(rows, "utility")).mean()) or 1.0


def _caption(record: dict[str, Any], probes: list[dict[str, Any]]) -> str:
    config, held_out = record["config"], probes[0]["accuracy"]
    counts = [row["count"] for probe in probes for row in probe["accuracy"]["metrics"]["sgd"]["bins"]]
    sizes = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    rows = (
        f" Rows: the student before each update named, trained with {config['method']} weights and its pass rates taken again."
        if "steps" in record
        else ""
    )
    return (
        f"Left: gradient signal-to-noise ratio against the student's pass rate, one gradient of {DIVERGENCES[config['divergence']].label} a problem "
        f"({config['student']} against {config['teacher']}). Right: for the same problems, the inner product of a step on the problem with the "
        f"gradient of the expected accuracy on {held_out['problems']} held-out problems ({config['accuracy_problems']}; score function over "
        f"{config['accuracy_samples']} graded rollouts each), over the step's size: above zero a step on such a problem raises accuracy elsewhere. Both "
        "metrics are drawn in units of the mean size of their bins. "
        f"Bins hold {sizes} problems; 95 % intervals, on the right over both the probed and the held-out problems.{rows}"
    )
