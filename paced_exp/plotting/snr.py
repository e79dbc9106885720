"""Figure 2: gradient SNR against the pass rate, from a probe's record alone."""

from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.plotting.style import COLORS, new_figure, save_figure

DIVERGENCE_NAMES = {
    "forward_kl": "forward KL",
    "reverse_kl": "reverse KL",
    "cross_entropy": "cross-entropy",
    "jsd": "Jensen-Shannon",
    "akl": "AKL",
}
RESPONSES = {
    "reference": "its fixed reference response",
    "solution": "the worked solution",
    "rollout": "a fresh rollout of the student's own",
}


def plot_snr(record: dict[str, Any], folder: str | Path, name: str = "figure2_snr") -> list[Path]:
    """Draw the probe's curve with its floor, null and fit (left), and SNR^2 with the paper's shape (right); writes PDF, PNG, SVG and caption.

    A record of `--at-steps` gets a row of panels for each update.
    """
    probes = record.get("steps", [record])
    figure, axes = new_figure("double", 3.9 * len(probes), nrows=len(probes), ncols=2, squeeze=False)
    for (left, right), probe in zip(axes, probes, strict=True):
        _draw_snr(left, probe["bins"], probe.get("artefact", []))
        _draw_squared(right, probe["bins"], probe["fit"])
        if "step" in probe:
            left.set_title(f"before update {probe['step']}: {_verdicts(probe)}", loc="left")
    config = record["config"]
    title = f"{config['student']} distilled from {config['teacher']}, {DIVERGENCE_NAMES[config['divergence']]}"
    figure.suptitle(title if "steps" in record else f"{title}: {_verdicts(record)}", fontsize=8)
    return save_figure(figure, name, folder, caption=_caption(record, probes))


def _verdicts(probe: dict[str, Any]) -> str:
    return f"p → 0 {probe['verdict']['low']['verdict']}, p → 1 {probe['verdict']['high']['verdict']}"


def _column(rows: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([row[key] for row in rows], dtype=float)


def _draw_snr(axes: Any, rows: list[dict[str, Any]], artefact: list[dict[str, Any]]) -> None:
    p, snr = _column(rows, "pass_rate"), _column(rows, "snr")
    axes.fill_between(
        p, _column(rows, "null_low"), _column(rows, "null_high"), color=COLORS["grey"], alpha=0.25, lw=0, label="pass rates shuffled (95 %)"
    )
    axes.plot(p, _column(rows, "zero_high"), color=COLORS["black"], ls=":", label="no common direction (97.5 %)")
    axes.plot(p, _column(rows, "floor"), color=COLORS["yellow"], ls="--", label="floor of the naive estimate, 1/√n")
    axes.plot(p, _column(rows, "snr_naive"), color=COLORS["orange"], ls="-.", marker="s", label="naive estimate")
    if artefact:
        p_random, naive = _column(artefact, "pass_rate"), _column(artefact, "snr_naive")
        axes.plot(p_random, naive, color=COLORS["purple"], lw=0.8, marker="x", label="naive estimate, bins as random problems fill them")
    errors = np.stack([snr - _column(rows, "snr_low"), _column(rows, "snr_high") - snr]).clip(0)
    axes.errorbar(p, snr, errors, color=COLORS["blue"], marker="o", capsize=2, label="unbiased estimate, 95 % interval")
    axes.set(xlabel="pass rate of the student, k/K", ylabel="gradient SNR  ‖E g‖ / √tr Cov g", xlim=(-0.03, 1.03), ylim=(0, None))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _draw_squared(axes: Any, rows: list[dict[str, Any]], fit: dict[str, Any] | None) -> None:
    p, squared = _column(rows, "posterior_pass_rate"), _column(rows, "snr_squared")
    errors = np.stack([squared - _column(rows, "snr_squared_low"), _column(rows, "snr_squared_high") - squared]).clip(0)
    axes.errorbar(p, squared, errors, color=COLORS["blue"], marker="o", ls="none", capsize=2, label="unbiased SNR², 95 % interval")
    axes.axhline(0, color=COLORS["black"], lw=0.6)
    grid = np.linspace(0.01, 0.99, 197)
    weights = 1 / (errors.sum(0) ** 2 + 1e-300)
    shape = p * (1 - p)
    scale = max(0.0, float((weights * squared * shape).sum() / (weights * shape**2).sum()))
    axes.plot(grid, scale * grid * (1 - grid), color=COLORS["grey"], ls="--", label="paper's shape, c p(1−p)")
    if fit is not None:
        curve = np.exp(fit["log_c"]) * grid ** fit["a"] * (1 - grid) ** fit["b"]
        label = f"fit c pᵃ(1−p)ᵇ: a = {fit['a']:.2f} [{fit['a_low']:.2f}, {fit['a_high']:.2f}],\n b = {fit['b']:.2f} [{fit['b_low']:.2f}, {fit['b_high']:.2f}]"
        axes.plot(grid, curve, color=COLORS["green"], label=label)
        top = max(float((squared + errors[1]).max()), 1.2 * float(squared.max()))
        axes.set_ylim(min(0.0, float((squared - errors[0]).min())) * 1.05, top * 1.05)
    axes.set(xlabel="posterior pass rate, (k + ½)/(K + 1)", ylabel="SNR²", xlim=(-0.03, 1.03))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _restriction(config: dict[str, Any]) -> str:
    summed = ", summed over its tokens" if config.get("reduction", "mean") == "sum" else ""
    return summed + (f", in {config['only']} alone" if config.get("only") else "")


def _range(sizes: list[int]) -> str:
    return f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"


def _caption(record: dict[str, Any], probes: list[dict[str, Any]]) -> str:
    config, sizes = record["config"], [row["n"] for probe in probes for row in probe["bins"]]
    words = [f"{probe['verdict']['low']['words']}. {probe['verdict']['high']['words']}." for probe in probes]
    if "steps" in record:
        words = [f"Before update {probe['step']}: {text}" for probe, text in zip(probes, words, strict=True)]
        words.insert(
            0, f"Rows: the student before each update named, trained with {config['method']} weights and its pass rates taken again."
        )
    return (
        f"Gradient signal-to-noise ratio against the student's pass rate. Each problem gives one gradient of {DIVERGENCE_NAMES[config['divergence']]} "
        f"({config['student']} against {config['teacher']} on {RESPONSES[config.get('response', 'reference')]}{_restriction(config)}); its pass rate is k/K from K = {config['K']} rollouts; "
        f"bins hold {_range(sizes)} problems. Left: the unbiased estimate with 95 % jackknife intervals over problems, the naive estimate "
        "with its floor 1/√n (also with bins of the sizes in which random problems fall into them: a bell whatever the gradients do), "
        "the band that shuffled pass rates give, and what gradients without any common direction would reach. "
        f"Right: unbiased SNR², the leading-order fit and the paper's shape p(1−p) at its best scale. What is said of an end rests on its own 95 % interval "
        f"and is not adjusted for testing both, or both updates. {' '.join(words)}"
    )
