"""Worst-case loss against tanh^2(delta), its slope 2, the saddle point, and wrong exponents.

python -m figures.theory_robustness [--out figures/out]
"""

from pathlib import Path

import numpy as np

from figures.command import run
from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure, save_figure
from paced_theory.robustness import (
    beta_misspecification_loss,
    find_adversary,
    pointwise_loss_bound,
    saddle_point,
    worst_case_efficiency,
    worst_case_loss,
    worst_case_of_weight,
)

NAME = "theory_robustness"
DELTA = 0.3
LEVELS = (np.arange(9) + 0.5) / 9
CAPTION = f"""
Robustness of the weight w0 when the true optimum is w0 exp(eps), |eps| <= delta. (a) Loss in the worst case. Line: tanh^2(delta); points: the
loss under the worst law of eps found by linear programming over 101 values of eps, which is not told the answer; dashed: the pointwise bound
(exp(delta) - 1)^2, which exceeds it only because it also fixes the scale of the weight; dotted: slope 2. (b) The game at delta = {DELTA}, p uniform
and w0 = p(1-p): worst-case efficiency of w0 (p/(1-p))^x (solid) and of w0 (4p(1-p))^x (dashed), each against its own worst adversary. Both
are largest at x = 0, the weight w0, where they reach sech^2({DELTA}) = 0.9151 (dotted). Diamond: the best weight of all, found by cutting planes from
other starts: its log-ratio to w0 is below 0.01 at every level. (c) Loss of the Beta kernel with exponents (alpha, beta) where (1, 1) is
optimal, p uniform, in closed form: contours of equal loss in percent. The exponents need not be known well.
"""


def draw(out: Path) -> list[Path]:
    """Draw the three panels into out/."""
    figure, axes = new_figure("double", 2.6, ncols=3)
    delta = np.geomspace(0.01, 2, 200)
    tried = np.geomspace(0.01, 2, 10)
    axes[0].loglog(delta, worst_case_loss(delta), color=COLORS["blue"], label=r"$\tanh^2\delta$")
    axes[0].loglog(
        tried, [1 - find_adversary(d).efficiency for d in tried], MARKERS[0], color=COLORS["black"], mfc="white", label="adversary"
    )
    axes[0].loglog(delta, pointwise_loss_bound(delta), color=COLORS["orange"], linestyle=LINES[1], label=r"pointwise $(e^\delta-1)^2$")
    axes[0].loglog(delta[:120], 0.3 * delta[:120] ** 2, color=COLORS["grey"], linestyle=LINES[3], label="slope 2")
    axes[0].set(xlabel=r"$\delta$", ylabel="worst-case loss", title="(a) order and constant", ylim=(1e-5, 50))
    axes[0].legend(loc="upper left")

    nu = (LEVELS * (1 - LEVELS)) ** 2
    shift = np.linspace(-0.5, 0.5, 41)
    directions = (
        (np.log(LEVELS / (1 - LEVELS)), r"$w_0\,(p/(1-p))^x$", "blue", LINES[0]),
        (np.log(4 * LEVELS * (1 - LEVELS)), r"$w_0\,(4p(1-p))^x$", "purple", LINES[1]),
    )
    for direction, label, color, line in directions:
        worst = [worst_case_of_weight(x * direction, nu, DELTA)[0] for x in shift]
        axes[1].plot(shift, worst, color=COLORS[color], linestyle=line, label=label)
    game = saddle_point(nu, DELTA)
    axes[1].axhline(float(worst_case_efficiency(DELTA)), color=COLORS["grey"], linestyle=LINES[3])
    axes[1].plot(0, game.efficiency, MARKERS[3], color=COLORS["black"], markersize=5, label="best weight found")
    axes[1].set(xlabel="x", ylabel="worst-case efficiency", title=rf"(b) saddle at $\delta = {DELTA}$")
    axes[1].legend(loc="lower center")

    alpha, beta = np.meshgrid(np.linspace(0, 3, 121), np.linspace(0, 3, 121))
    percent = 100 * beta_misspecification_loss(alpha - 1, beta - 1)
    contours = axes[2].contour(alpha, beta, percent, levels=[1, 2, 5, 10, 20, 30], colors=COLORS["blue"], linewidths=0.9)
    axes[2].clabel(contours, fmt="%g %%", fontsize=6)
    axes[2].plot(1, 1, MARKERS[3], color=COLORS["black"], markersize=5)
    axes[2].set(xlabel=r"$\alpha$ used", ylabel=r"$\beta$ used", title="(c) wrong exponents", aspect="equal")
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
