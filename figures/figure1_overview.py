"""Figure 1: the pipeline, from a problem to a weighted training step, and the kernels that turn a pass rate into a weight.

python -m figures.figure1_overview [--out figures/out]
"""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import FancyBboxPatch

from figures.command import run
from figures.headlines import label, put
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
# Both sentences follow from the definition of the weight; nothing here is measured.
HEADLINE = """
PACED weights each training problem by how often the student already solves it:
problems that it always or never solves get no weight, those in between the most
""".strip()
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
    axis.set_title("(a) The student's own answers set the weight of a problem", loc="left")
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
        ("none", np.ones_like(p), "grey", 1.0, (4, 0), "left"),
        ("PACED, p(1−p)", BetaKernel()(p), "blue", 0.57, (0, -6), "center"),
        ("GRPO, √(p(1−p))", SqrtVariance()(p), "orange", 0.97, (2, 16), "left"),
        ("Gaussian", GaussianBump()(p), "green", 1.0, (4, 0), "left"),
        ("hard filter", HardFilter(0.2, 0.8)(p), "purple", 0.7, (0, 6), "center"),
        ("PACED, α = 1/2, β = 2", BetaKernel(0.5, 2.0)(p), "sky", 0.2, (0, 6), "center"),
    )
    for (name, weight, color, at, shift, side), line in zip(kernels, LINES, strict=True):
        height = weight / np.trapezoid(weight, p)
        axis.plot(p, height, color=COLORS[color], linestyle=line, label=name)
        label(axis, (at, float(np.interp(at, p, height))), name, color, shift, ha=side, line=max(map(abs, shift)) > 6)
    axis.set(xlabel="pass rate p: share of its answers that are correct", ylabel="weight, mean one", xlim=(0, 1), ylim=(0, 2.05))
    axis.set_title("(b) The weights of PACED and GRPO fall to zero at both ends, the Gaussian does not", loc="left")


def draw(out: Path) -> list[Path]:
    """Draw both panels into out/."""
    figure, (top, bottom) = new_figure("double", 3.6, nrows=2, height_ratios=(1, 1.6))
    draw_pipeline(top)
    draw_kernels(bottom)
    put(figure, HEADLINE)
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
