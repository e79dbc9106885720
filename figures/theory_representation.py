"""The representation p^a (1-p)^b e^r, its counter-example, and how well rival forms can be told apart.

python -m figures.theory_representation [--out figures/out]
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from figures.command import run
from figures.headlines import label, listed, put
from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure, save_figure
from paced_theory.collapse import LogisticStudent
from paced_theory.representation import (
    LeadingOrderFit,
    ModelComparison,
    compare_models,
    counterexample,
    fit_leading_order_linear,
    remainder,
)

NAME = "theory_representation"
BINS = (np.arange(11) + 0.5) / 11
RELATIVE_ERROR = 0.05
STUDENT = LogisticStudent(noise_floor=0.3)
CAPTION = f"""
SNR^2 as p^a (1-p)^b exp(r(p)). (a) SNR^2 of the logistic student of the collapse figure (noise floor 0.3): its exact curve, estimates in 11
bins with Gaussian errors of {RELATIVE_ERROR:.0%} of the peak (points, one standard error), and the leading-order fit c p^a (1-p)^b to them; the
exponents are given with 95 % profile-likelihood intervals. The true boundary exponents are 1 and 2. A fit over all bins weighs them
against the remainder: its intervals cover sampling error only, and here that of a excludes 1. (b) The remainder r of that student at its true
exponents is bounded; that of the counter-example f(p) = p |log p| is log|log p|, which grows without bound as p falls, although f vanishes at
p = 0: vanishing at the ends does not suffice for the representation. (c) AIC of each form in excess of the best one on the estimates of (a),
linear up to 2 (dotted line) and logarithmic beyond: forms within about 2 are not told apart by such data.
"""


def headline(fit: LeadingOrderFit, exponents: tuple[float, float]) -> str:
    """The message in two lines: whether the fitted exponents are those of the boundary, by the intervals of the fit."""
    missed = [name for name, low, high, true in _ends(fit, exponents) if not low <= true <= high]
    one = len(missed) == 1
    does = "hold" if not missed else "does not hold" if one else "do not hold"
    return (
        f"A fit of p^a (1−p)^b over all pass rates {'misses' if missed else 'finds'} the true exponents at the ends, "
        f"a = {exponents[0]:g} and b = {exponents[1]:g}:\n"
        f"the 95 % interval{'' if one else 's'} of {listed(missed or ['a', 'b'])} {does} {'it' if one else 'them'}"
    )


def _ends(fit: LeadingOrderFit, exponents: tuple[float, float]) -> tuple[tuple[str, float, float, float], ...]:
    return ("a", fit.a_low, fit.a_high, exponents[0]), ("b", fit.b_low, fit.b_high, exponents[1])


def rivals(rows: Sequence[ModelComparison]) -> str:
    """The message of the last panel: how many forms the data tell from the best one: an AIC within 2 does not."""
    far = sum(row.delta_aic > 2 for row in rows)
    return f"(c) {far} of {len(rows)} forms fit worse\nthan the best by over 2 AIC"


def draw(out: Path) -> list[Path]:
    """Draw the three panels into out/."""
    figure, axes = new_figure("double", 3.0, ncols=3)
    truth = STUDENT.snr_squared(BINS)
    error = np.full(BINS.size, RELATIVE_ERROR * truth.max())
    estimates = truth + error * np.random.default_rng(0).standard_normal(BINS.size)
    fit = fit_leading_order_linear(BINS, estimates, error)

    p = np.linspace(0, 1, 501)
    exponents = f"fit: a = {fit.a:.2f} [{fit.a_low:.2f}, {fit.a_high:.2f}]\nb = {fit.b:.2f} [{fit.b_low:.2f}, {fit.b_high:.2f}]"
    axes[0].plot(p, STUDENT.snr_squared(p), color=COLORS["blue"], label="exact")
    axes[0].plot(p, fit.snr_squared(p), color=COLORS["orange"], linestyle=LINES[1], label="fit")
    axes[0].errorbar(BINS, estimates, error, fmt=MARKERS[0], color=COLORS["black"], markerfacecolor="white", elinewidth=0.8)
    axes[0].set(xlabel="pass rate p", ylabel="SNR$^2$", ylim=(-0.03, 1.5 * truth.max()))
    axes[0].set_title("(a) the fit (dashed) beside\nthe exact curve", loc="left")
    axes[0].text(0.5, 0.97, exponents, color=COLORS["orange"], fontsize=7, ha="center", va="top", transform=axes[0].transAxes)
    label(axes[0], (0.5, 0.0), "exact", "blue", (-12, 34), ha="center")

    small = np.geomspace(1e-12, 0.5, 400)
    axes[1].semilogx(
        small, remainder(small, STUDENT.snr_squared(small), *STUDENT.boundary_exponents()), color=COLORS["blue"], label="logistic"
    )
    axes[1].semilogx(
        small, remainder(small, counterexample(small), 1, 0), color=COLORS["purple"], linestyle=LINES[1], label=r"$p\,|\log p|$, $a = 1$"
    )
    axes[1].set(xlabel="pass rate p", ylabel="remainder r(p)")
    axes[1].set_title("(b) zero at p = 0 is not enough:\nthe remainder may be unbounded", loc="left")
    label(axes[1], (1e-7, -0.26), "this student's: bounded", "blue", (0, 8), ha="center")
    label(axes[1], (2e-12, 1.5), r"of $p\,|\log p|$: grows" + "\nwithout bound", "purple")

    rows = compare_models(BINS, estimates, error)[::-1]
    axes[2].barh([row.name for row in rows], [row.delta_aic for row in rows], color=COLORS["green"], height=0.6)
    axes[2].axvline(2, color=COLORS["black"], linestyle=LINES[3], linewidth=0.8)
    axes[2].set_xscale("symlog", linthresh=2)
    axes[2].set(xlabel="AIC above the best")
    axes[2].set_title(rivals(rows), loc="left")
    axes[2].grid(axis="y", visible=False)
    put(figure, headline(fit, STUDENT.boundary_exponents()))
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
