"""Figure 1: the pipeline, from a problem to a weighted training step, and the kernels that turn a pass rate into a weight.

python -m figures.figure1_overview [--out figures/out]
"""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import FancyBboxPatch

from figures.command import run
from paced_exp.plotting.style import COLORS, LINES, new_figure, save_figure
from paced_theory.kernels import BetaKernel, GaussianBump, HardFilter, SqrtVariance

NAME = "figure1_overview"
STEPS = (
    ("problem", "prompt, answer,\nexpert solution"),
    ("rollouts", "K answers of the\nstudent, graded"),
    ("pass rate", "k of K, or the\nposterior given it"),
    ("weight", r"$w = p^\alpha (1-p)^\beta$," + "\nof mean one"),
    ("training step", r"$\sum_i w_i \,\ell_i$ / batch," + "\n" + r"$\ell$: KL to the teacher"),
)
CAPTION = """
(a) The pipeline: every problem is rolled out K times by the student itself, its pass rate gives a weight, normalised once over the data set, and
the problem's distillation loss (forward KL on the teacher's reference response, or reverse KL on the student's own) is multiplied by it. The teacher
sees the expert solution. Problems of weight zero are not trained on. (b) The kernels compared, each divided by its mean over pass rates that are
uniform on [0, 1].
"""


def draw_pipeline(axis: Any) -> None:
    """Boxes from left to right, an arrow between neighbours."""
    axis.set(xlim=(0, len(STEPS)), ylim=(0, 1))
    axis.axis("off")
    axis.set_title("(a) from a problem to a weighted step", loc="left")
    for index, (name, words) in enumerate(STEPS):
        box = FancyBboxPatch((index + 0.07, 0.12), 0.78, 0.76, boxstyle="round,pad=0.02", fc="white", ec=COLORS["blue"], lw=0.9)
        axis.add_patch(box)
        axis.text(index + 0.46, 0.68, name, ha="center", va="center", fontsize=8, fontweight="bold")
        axis.text(index + 0.46, 0.36, words, ha="center", va="center", fontsize=6)
        if index:
            axis.annotate(
                "", (index + 0.05, 0.5), (index - 0.13, 0.5), arrowprops={"arrowstyle": "->", "lw": 0.9, "color": COLORS["black"]}
            )


def draw_kernels(axis: Any) -> None:
    """Weight against pass rate, each kernel with mean one."""
    p = np.linspace(0, 1, 2001)
    kernels = (
        ("none", np.ones_like(p), "grey"),
        ("PACED, p(1−p)", BetaKernel()(p), "blue"),
        ("GRPO, √(p(1−p))", SqrtVariance()(p), "orange"),
        ("Gaussian", GaussianBump()(p), "green"),
        ("hard filter", HardFilter(0.2, 0.8)(p), "purple"),
        ("PACED, α = 1/2, β = 2", BetaKernel(0.5, 2.0)(p), "sky"),
    )
    for (label, weight, color), line in zip(kernels, LINES, strict=True):
        axis.plot(p, weight / np.trapezoid(weight, p), color=COLORS[color], linestyle=line, label=label)
    axis.set(xlabel="pass rate p", ylabel="weight, mean one", xlim=(0, 1), ylim=(0, None))
    axis.set_title("(b) kernels", loc="left")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=3)


def draw(out: Path) -> list[Path]:
    """Draw both panels into out/."""
    figure, (top, bottom) = new_figure("double", 3.6, nrows=2, height_ratios=(1, 1.6))
    draw_pipeline(top)
    draw_kernels(bottom)
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
