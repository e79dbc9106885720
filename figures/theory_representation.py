"""The representation p^a (1-p)^b e^r, its counter-example, and how well rival forms can be told apart.

python -m figures.theory_representation [--out figures/out]
"""

from pathlib import Path

import numpy as np

from figures.command import run
from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure, save_figure
from paced_theory.collapse import LogisticStudent
from paced_theory.representation import compare_models, counterexample, fit_leading_order_linear, remainder

NAME = "theory_representation"
BINS = (np.arange(11) + 0.5) / 11
RELATIVE_ERROR = 0.05
STUDENT = LogisticStudent(noise_floor=0.3)
CAPTION = f"""
SNR^2 as p^a (1-p)^b exp(r(p)). (a) SNR^2 of the logistic student of the collapse figure (noise floor 0.3): its exact curve, estimates in 11
bins with Gaussian errors of {RELATIVE_ERROR:.0%} of the peak (points, one standard error), and the leading-order fit c p^a (1-p)^b to them; the
legend gives the exponents with 95 % profile-likelihood intervals. The true boundary exponents are 1 and 2. A fit over all bins weighs them
against the remainder: its intervals cover sampling error only, and here that of a excludes 1. (b) The remainder r of that student at its true
exponents is bounded; that of the counter-example f(p) = p |log p| is log|log p|, which grows without bound as p falls, although f vanishes at
p = 0: vanishing at the ends does not suffice for the representation. (c) AIC of each form in excess of the best one on the estimates of (a),
linear up to 2 (dotted line) and logarithmic beyond: forms within about 2 are not told apart by such data.
"""


def draw(out: Path) -> list[Path]:
    """Draw the three panels into out/."""
    figure, axes = new_figure("double", 2.6, ncols=3)
    truth = STUDENT.snr_squared(BINS)
    error = np.full(BINS.size, RELATIVE_ERROR * truth.max())
    estimates = truth + error * np.random.default_rng(0).standard_normal(BINS.size)
    fit = fit_leading_order_linear(BINS, estimates, error)

    p = np.linspace(0, 1, 501)
    legend = f"fit: a = {fit.a:.2f} [{fit.a_low:.2f}, {fit.a_high:.2f}]\n      b = {fit.b:.2f} [{fit.b_low:.2f}, {fit.b_high:.2f}]"
    axes[0].plot(p, STUDENT.snr_squared(p), color=COLORS["blue"], label="exact")
    axes[0].plot(p, fit.snr_squared(p), color=COLORS["orange"], linestyle=LINES[1], label=legend)
    axes[0].errorbar(BINS, estimates, error, fmt=MARKERS[0], color=COLORS["black"], markerfacecolor="white", elinewidth=0.8)
    axes[0].set(xlabel="pass rate p", ylabel="SNR$^2$", title="(a) leading-order fit", ylim=(-0.03, 1.75 * truth.max()))
    axes[0].legend(loc="upper left")

    small = np.geomspace(1e-12, 0.5, 400)
    axes[1].semilogx(
        small, remainder(small, STUDENT.snr_squared(small), *STUDENT.boundary_exponents()), color=COLORS["blue"], label="logistic"
    )
    axes[1].semilogx(
        small, remainder(small, counterexample(small), 1, 0), color=COLORS["purple"], linestyle=LINES[1], label=r"$p\,|\log p|$, $a = 1$"
    )
    axes[1].set(xlabel="pass rate p", ylabel="remainder r(p)", title="(b) bounded or not")
    axes[1].legend(loc="center left")

    rows = compare_models(BINS, estimates, error)[::-1]
    axes[2].barh([row.name for row in rows], [row.delta_aic for row in rows], color=COLORS["green"], height=0.6)
    axes[2].axvline(2, color=COLORS["black"], linestyle=LINES[3], linewidth=0.8)
    axes[2].set_xscale("symlog", linthresh=2)
    axes[2].set(xlabel="AIC above the best", title="(c) rivals")
    axes[2].grid(axis="y", visible=False)
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
