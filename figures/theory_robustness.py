"""Worst-case loss against tanh^2(delta), its slope 2, the saddle point, and wrong exponents.

python -m figures.theory_robustness [--out figures/out]
"""

from pathlib import Path

import numpy as np

from figures.command import run
from figures.headlines import label, put
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
# The minimax theorem, drawn.
HEADLINE = r"""
If the best weight differs from PACED's $w_0$ by a factor of at most $e^{\pm\delta}$ at any pass rate,
$w_0$ loses at most $\tanh^2\delta$ of the progress, and no other weight has a smaller worst case
""".strip()
OFF = 0.5  # how far the exponents of the last panel's title are wrong
CAPTION = f"""
Robustness of the weight w0 when the true optimum is w0 exp(eps), |eps| <= delta. (a) Loss in the worst case. Line: tanh^2(delta); points: the
loss under the worst law of eps found by linear programming over 101 values of eps, which is not told the answer; dashed: the pointwise bound
(exp(delta) - 1)^2, which exceeds it only because it also fixes the scale of the weight; dotted: slope 2. (b) The game at delta = {DELTA}, p uniform
and w0 = p(1-p): worst-case efficiency of w0 (p/(1-p))^x (solid) and of w0 (4p(1-p))^x (dashed), each against its own worst adversary. Both
are largest at x = 0, the weight w0, where they reach sech^2({DELTA}) = 0.9151 (dotted). Diamond: the best weight of all, found by cutting planes from
other starts: its log-ratio to w0 is below 0.01 at every level. (c) Loss of the Beta kernel with exponents (alpha, beta) where (1, 1) is
optimal, p uniform, in closed form: contours of equal loss in percent. The exponents need not be known well.
"""


def wrong_exponents() -> str:
    """The message of the last panel: the largest loss where both exponents are off by at most `OFF`. The loss grows outward: the rim has it."""
    off = np.linspace(-OFF, OFF, 41)
    worst = float(np.max(beta_misspecification_loss(*np.meshgrid(off, off))))
    return f"(c) exponents off by {OFF:g}\nlose at most {100 * worst:.0f} %"


def draw(out: Path) -> list[Path]:
    """Draw the three panels into out/."""
    figure, axes = new_figure("double", 3.1, ncols=3)
    delta = np.geomspace(0.01, 2, 200)
    tried = np.geomspace(0.01, 2, 10)
    axes[0].loglog(delta, worst_case_loss(delta), color=COLORS["blue"], label=r"$\tanh^2\delta$")
    axes[0].loglog(
        tried, [1 - find_adversary(d).efficiency for d in tried], MARKERS[0], color=COLORS["black"], mfc="white", label="adversary"
    )
    axes[0].loglog(delta, pointwise_loss_bound(delta), color=COLORS["orange"], linestyle=LINES[1], label=r"pointwise $(e^\delta-1)^2$")
    axes[0].loglog(delta[:120], 0.3 * delta[:120] ** 2, color=COLORS["grey"], linestyle=LINES[3], label="slope 2")
    axes[0].set(xlabel=r"$\delta$: bound on the log-error of $w_0$", ylabel="worst-case loss", ylim=(1e-5, 50))
    axes[0].set_title("(a) the worst case found\n" + r"(circles) is $\tanh^2\delta$ (line)", loc="left")
    label(axes[0], (1, float(pointwise_loss_bound(1.0))), "pointwise bound\n" + r"$(e^\delta-1)^2$", "orange", (-8, 4), ha="right")
    label(axes[0], (1, float(worst_case_loss(1.0))), r"$\tanh^2\delta$", "blue", (0, -12))
    label(axes[0], (0.1, 0.003), "slope 2", "grey", (8, -6))

    nu = (LEVELS * (1 - LEVELS)) ** 2
    shift = np.linspace(-0.5, 0.5, 41)
    directions = (
        (np.log(LEVELS / (1 - LEVELS)), r"$w_0\,(p/(1-p))^x$", "blue", LINES[0], 30, (-14, -40)),
        (np.log(4 * LEVELS * (1 - LEVELS)), r"$w_0\,(4p(1-p))^x$", "purple", LINES[1], 30, (4, 23)),
    )
    for direction, name, color, line, at, place in directions:
        worst = [worst_case_of_weight(x * direction, nu, DELTA)[0] for x in shift]
        axes[1].plot(shift, worst, color=COLORS[color], linestyle=line, label=name)
        label(axes[1], (shift[at], worst[at]), name, color, place, ha="center", line=place[1] > 0)
    game = saddle_point(nu, DELTA)
    axes[1].axhline(float(worst_case_efficiency(DELTA)), color=COLORS["grey"], linestyle=LINES[3])
    axes[1].plot(0, game.efficiency, MARKERS[3], color=COLORS["black"], markersize=5, label="best weight found")
    axes[1].set(xlabel="x: how far the weight is from $w_0$", ylabel="worst-case efficiency", ylim=(0.58, 0.98))
    axes[1].set_title("(b) the best weight found\n" + rf"(diamond) is $w_0$, at $\delta = {DELTA}$", loc="left")

    alpha, beta = np.meshgrid(np.linspace(0, 3, 121), np.linspace(0, 3, 121))
    percent = 100 * beta_misspecification_loss(alpha - 1, beta - 1)
    contours = axes[2].contour(alpha, beta, percent, levels=[1, 2, 5, 10, 20, 30], colors=COLORS["blue"], linewidths=0.9)
    axes[2].clabel(contours, fmt="%g %%", fontsize=6)
    axes[2].plot(1, 1, MARKERS[3], color=COLORS["black"], markersize=5)
    axes[2].set(xlabel=r"$\alpha$ used", ylabel=r"$\beta$ used", aspect="equal")
    axes[2].set_title(wrong_exponents(), loc="left")
    put(figure, HEADLINE)
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
