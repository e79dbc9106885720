"""The figure of gradient SNR against the pass rate, drawn from a probe's record. Figure 2 is one of these."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paced_exp.losses.divergences import DIVERGENCES
from paced_exp.plotting.style import COLORS, new_figure, save_figure
from paced_exp.probe.fits import exponent_words, law_of, mixture_of, quality_words
from paced_exp.probe.range_law import has_ranges
from paced_exp.probe.verdict import ENDS, RULE, bin_name, by_rule, words

RESPONSES = {
    "reference": "its fixed reference response",
    "solution": "the worked solution",
    "rollout": "a fresh rollout of the student's own",
}


def plot_snr(record: dict[str, Any], folder: str | Path, name: str = "snr_curve") -> list[Path]:
    """Write `snr_figure` as PDF, PNG, SVG and caption into `folder`. Returns the files."""
    return save_figure(snr_figure(record), name, folder, caption=_caption(record, record.get("steps", [record])))


def snr_figure(record: dict[str, Any]) -> Figure:
    """The probe's curve with its floor, null and fit (left), and SNR^2 with the paper's shape (right).

    A record of `at_steps` gets a row of panels for each update.
    """
    probes = record.get("steps", [record])
    figure, axes = new_figure("double", 3.9 * len(probes), nrows=len(probes), ncols=2, squeeze=False)
    for (left, right), probe in zip(axes, probes, strict=True):
        _draw_snr(left, probe["bins"], probe.get("artefact", []))
        _draw_squared(right, probe)
        if "step" in probe:
            left.set_title(f"before update {probe['step']}: {_verdicts(probe)}", loc="left")
    config = record["config"]
    probed = f"{config['student']} distilled from {config['teacher']}, {DIVERGENCES[config['divergence']].label}"
    figure.suptitle(probed if "steps" in record else f"{probed}\n{_verdicts(record)}", fontsize=8)
    return figure


def _verdicts(probe: dict[str, Any]) -> str:
    """The verdict on both ends in a few words."""
    said = (f"{bin_name(probe, end).removeprefix('the ')} {by_rule(probe['verdict'][end])}" for end in ENDS)
    return "half of the middle's SNR²: " + ", ".join(said)


def _column(rows: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([row[key] for row in rows], dtype=float)


def _places(rows: list[dict[str, Any]], p: np.ndarray) -> np.ndarray:
    """Positions on the axis: bins at their pass rates `p`, but ranges side by side, since those below 0.1 would overlap."""
    return np.arange(len(rows), dtype=float) if rows[0].get("range") is not None else p


def _label(axes: Any, rows: list[dict[str, Any]], words: str) -> None:
    """The axis of pass rates: a scale from 0 to 1, or the names of the ranges."""
    if rows[0].get("range") is None:
        axes.set(xlabel=words, xlim=(-0.03, 1.03))
        return
    axes.set_xticks(range(len(rows)), [row["range"]["label"] for row in rows], rotation=45, ha="right", rotation_mode="anchor")
    axes.set(xlabel="range of pass rates", xlim=(-0.5, len(rows) - 0.5))


def _draw_snr(axes: Any, rows: list[dict[str, Any]], artefact: list[dict[str, Any]]) -> None:
    p, snr = _places(rows, _column(rows, "pass_rate")), _column(rows, "snr")
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
    _label(axes, rows, "pass rate of the student, k/K")
    axes.set(ylabel="gradient SNR  ‖E g‖ / √tr Cov g", ylim=(0, None))
    _legend(axes, rows)


def _draw_squared(axes: Any, probe: dict[str, Any]) -> None:
    rows, mixture = probe["bins"], mixture_of(probe)
    known = mixture["posterior_pass_rate"] is not None
    p = _places(rows, np.array(mixture["posterior_pass_rate"]) if known else _column(rows, "posterior_pass_rate"))
    squared = _column(rows, "snr_squared")
    errors = np.stack([squared - _column(rows, "snr_squared_low"), _column(rows, "snr_squared_high") - squared]).clip(0)
    axes.errorbar(p, squared, errors, color=COLORS["blue"], marker="o", ls="none", capsize=2, label="unbiased SNR² of a bin, 95 % interval")
    axes.axhline(0, color=COLORS["black"], lw=0.6)
    if known:
        # p(1-p) at its best scale, as each bin would show it, given the bin's mixture of pass rates and the noise of the fit.
        law, posterior = law_of(probe)
        powers = (0.0, 0.0) if mixture["fit"] is None else (mixture["fit"]["noise_a"], mixture["fit"]["noise_b"])
        noise = np.exp(powers[0] * law.log_pass_rate + powers[1] * law.log_failure_rate)
        mean = posterior @ np.sqrt(np.exp(law.log_pass_rate + law.log_failure_rate) * noise)
        shape = mean**2 / (posterior @ noise)
        weights = 1 / (errors.sum(0) ** 2 + 1e-300)
        scale = max(0.0, float((weights * squared * shape).sum() / (weights * shape**2).sum()))
        axes.plot(p, scale * shape, color=COLORS["grey"], ls="--", marker="x", label="paper's c p(1−p), as bins would show it")
    if (fit := mixture["fit"]) is not None:
        label = f"fit c pᵃ(1−p)ᵇ, as bins would show it:\n{exponent_words(fit, 'a')},\n{exponent_words(fit, 'b')},\n{quality_words(fit)}"
        axes.plot(p, fit["fitted"], color=COLORS["green"], marker="s", label=label)
    _label(axes, rows, "mean pass rate of the bin's problems")
    axes.set(ylabel="SNR²")
    _legend(axes, rows)


def _legend(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Below the axis, and below the names of ranges."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16 if rows[0].get("range") is None else -0.36))


def _restriction(config: dict[str, Any]) -> str:
    summed = ", summed over its tokens" if config.get("reduction", "mean") == "sum" else ""
    return summed + (f", in {config['only']} alone" if config.get("only") else "")


def _range(sizes: list[int]) -> str:
    return f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"


def _caption(record: dict[str, Any], probes: list[dict[str, Any]]) -> str:
    config, sizes = record["config"], [row["n"] for probe in probes for row in probe["bins"]]
    response = f"{RESPONSES[config.get('response', 'reference')]}{_restriction(config)}"
    random = (
        ""
        if has_ranges(record)
        else " (also with bins of the sizes in which random problems fall into them: a bell whatever the gradients do)"
    )
    said = [" ".join(_sentence(words(probe, end)) for end in ENDS) for probe in probes]
    if "steps" in record:
        said = [f"Before update {probe['step']}: {text}" for probe, text in zip(probes, said, strict=True)]
        said.insert(
            0, f"Rows: the student before each update named, trained with {config['method']} weights and its pass rates taken again."
        )
    return (
        f"Gradient signal-to-noise ratio against the student's pass rate. Each problem gives one gradient of {DIVERGENCES[config['divergence']].label} "
        f"({config['student']} against {config['teacher']} on {response}); its pass rate is k/K from K = {config['K']} rollouts{_fresh(config)}; "
        f"bins hold {_range(sizes)} problems. Left: the unbiased estimate with 95 % jackknife intervals over problems, the naive estimate "
        f"with its floor 1/√n{random}, "
        "the band that shuffled pass rates give (it tests that gradients and pass rates are exchangeable, and not that SNR is flat), and what "
        "gradients without any common direction would reach. Right: unbiased SNR², and what the fit and the paper's shape p(1−p) at its best scale "
        f"would show in bins that mix pass rates as these do. {RULE[0].upper()}{RULE[1:]}; each bin's own 95 % interval, "
        f"not adjusted for testing both, or both updates. {' '.join(said)}"
    )


def _fresh(config: dict[str, Any]) -> str:
    if not config.get("fresh_rollouts", 0):
        return ""
    share = config["family_share"]
    capped = f"; at most {share:.0%} of a range are of one family" if share < 1 else ""
    return (
        f", and where k <= 1 or k >= K-1, from {config['fresh_rollouts']} fresh ones, which alone decide the outer ranges{capped}; "
        "ranges are drawn side by side, not to scale"
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
