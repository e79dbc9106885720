"""R(a_s): how much Beta weights raise or lower the gradient noise, with its three marked points.

python -m figures.theory_variance_ratio [--out figures/out]
"""

from pathlib import Path

import numpy as np

from figures.command import run
from figures.headlines import label
from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure, save_figure
from paced_theory.convergence import breakeven_signal_exponent, variance_ratio
from paced_theory.kernels import BetaKernel

NAME = "theory_variance_ratio"
SAMPLES = 200_000
CAPTION = f"""
Variance inflation ratio R = E[w^2 n^2] / (E[w]^2 E[n^2]) of Beta weights w = p^alpha (1-p)^beta against no weighting, when the signal grows as
(p(1-p))^a_s, the noise variance as (p(1-p))^(2 a_s - 1), and p is uniform. Below 1 the weights lower the gradient noise at equal mean weight.
Solid: alpha = beta = 1, R = 18 a_s (2 a_s + 1) / ((4 a_s + 1)(4 a_s + 3)), with the paper's three points: R(1/4) = 27/32, break-even at
(sqrt(61) - 1)/20 = 0.3405, R(1/2) = 6/5. Crosses: the same ratio from {SAMPLES:,} sampled pass rates. Dashed and dash-dotted: exponents
(1/2, 1/2) and (2, 2). Dotted: exponents (1, 1) with p ~ Beta(2, 2), that is, few problems at the extremes.
"""


def sampled_ratio(signal_exponent: float, generator: np.random.Generator) -> float:
    """R for alpha = beta = 1 from sampled pass rates, by its definition."""
    p = generator.random(SAMPLES)
    weight, noise = BetaKernel()(p), (p * (1 - p)) ** (2 * signal_exponent - 1)
    return float(np.mean(weight**2 * noise) / (np.mean(weight) ** 2 * np.mean(noise)))


def headline() -> str:
    """The message in two lines: on which side of the break-even the weight helps, with its closed form."""
    at = breakeven_signal_exponent()
    below = "lower" if float(variance_ratio(at / 2)) < 1 else "raise"
    above = "raise" if below == "lower" else "lower"
    return f"Weights p(1−p) {below} the gradient noise (R < 1)\nfor $a_s$ below {at:.2f}; above it they {above} it"


def draw(out: Path) -> list[Path]:
    """Draw the curves and the marked points into out/."""
    figure, axis = new_figure("single", 3.0)
    exponent = np.linspace(0.02, 1, 300)
    breakeven = breakeven_signal_exponent()
    axis.axhline(1, color=COLORS["grey"], linewidth=0.8)
    axis.plot(exponent, variance_ratio(exponent), color=COLORS["blue"], label=r"$\alpha=\beta=1$")
    axis.plot(exponent, variance_ratio(exponent, 0.5, 0.5), color=COLORS["orange"], linestyle=LINES[1], label=r"$\alpha=\beta=1/2$")
    axis.plot(exponent, variance_ratio(exponent, 2, 2), color=COLORS["green"], linestyle=LINES[2], label=r"$\alpha=\beta=2$")
    axis.plot(exponent, variance_ratio(exponent, prior=(2, 2)), color=COLORS["purple"], linestyle=LINES[3], label="(1, 1), p ~ Beta(2, 2)")
    generator = np.random.default_rng(0)
    sampled = np.linspace(0.3, 0.95, 6)
    axis.plot(sampled, [sampled_ratio(a, generator) for a in sampled], "x", color=COLORS["black"], label="sampled, (1, 1)")
    line = {"arrowstyle": "-", "color": COLORS["black"], "linewidth": 0.6}
    for a, text, place in (
        (0.25, "R(1/4) = 27/32", (0.3, 0.4)),
        (breakeven, f"R({breakeven:.4f}) = 1", (0.41, 0.58)),
        (0.5, "R(1/2) = 6/5", (0.55, 0.77)),
    ):
        value = float(variance_ratio(a))
        axis.plot(a, value, MARKERS[0], color=COLORS["blue"], markersize=5)
        axis.annotate(text, (a, value), xytext=place, fontsize=7, arrowprops=line)
    axis.set(
        xlabel=r"$a_s$: the signal grows like $(p(1-p))^{a_s}$",
        ylabel="R: gradient noise, weighted / unweighted",
        xlim=(0, 1),
        ylim=(0, 2.1),
    )
    for text, at, height, color, shift in (
        (r"$\alpha=\beta=2$", 0.6, variance_ratio(0.6, 2, 2), "green", (-4, 7)),
        (r"$\alpha=\beta=1$", 1.0, variance_ratio(1.0), "blue", (-2, 7)),
        (r"$\alpha=\beta=1/2$", 1.0, variance_ratio(1.0, 0.5, 0.5), "orange", (-2, 5)),
    ):
        label(axis, (at, float(height)), text, color, shift, ha="right")
    label(axis, (0.1, float(variance_ratio(0.1, prior=(2, 2)))), "(1, 1), p ~ Beta(2, 2)", "purple", (-14, 34), line=True)
    axis.text(0.98, 0.04, "crosses: sampled pass rates", transform=axis.transAxes, fontsize=7, ha="right")
    axis.set_title(headline(), loc="left")
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
