"""SNR collapse at both boundaries in two models: closed form against simulated gradients, and what removes it.

python -m figures.theory_collapse [--out figures/out]
"""

from pathlib import Path
from typing import Any

import numpy as np

from figures.command import run
from figures.headlines import label, put
from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure, save_figure
from paced_theory.collapse import LogisticStudent, SoftmaxStudent
from paced_theory.representation import log_log_slope
from paced_theory.snr import SNREstimate, estimate_snr_from_sums

NAME = "theory_collapse"
PROBLEMS = 4000
PASS_RATES = np.linspace(0.0, 1.0, 11)
BOUNDARY = np.geomspace(1e-4, 0.1, 40)
# What both closed forms say, drawn; the tests compare the slopes.
HEADLINE = """
In both models the gradient SNR falls to zero at both ends of the pass rate p (solid lines and points);
with one cause removed (dashed), it stays above zero at p = 1
""".strip()
CAPTION = f"""
The gradient SNR collapses at both ends of the pass rate p, in two models where it is known in closed form. (a) Logistic student: gradient
-(1-p)(sqrt(p) u + xi) + eps, where u is a direction all problems share, xi is particular to a problem and eps is a noise floor. (b) Linear
softmax student over 8 tokens under forward KL: 3 answer tokens, whose probabilities multiply to p, and 2 style tokens that set the floor.
Lines: closed form. Points: unbiased estimates from the exact gradients of {PROBLEMS} simulated problems, with 95 % jackknife intervals
(negative estimates drawn at 0). Dashed: the same model with one cause removed, and the collapse is gone or moved: in (a) without the noise
floor the SNR at p = 1 stays finite; in (b) a teacher that is wrong on 10 % of its tokens moves the zero from p = 1 to p = 0.73. (c) SNR^2 of
both models near the boundaries against the distance from it, p or 1 - p, on logarithmic axes. The exponents are 1 at p = 0 (twice the
exponent with which problems come to share u) and 2 at p = 1; the labels give the slopes fitted below a distance of 0.001.
"""


def simulate(student: LogisticStudent | SoftmaxStudent, p: float, generator: np.random.Generator) -> SNREstimate:
    """Unbiased SNR of PROBLEMS simulated gradients at pass rate p."""
    gradients = student.gradients(p, PROBLEMS, generator)
    return estimate_snr_from_sums((gradients**2).sum(axis=1), gradients @ gradients.sum(axis=0))


def draw_model(axis: Any, student: Any, altered: Any, cause: str, color: str, seed: int) -> None:
    """SNR over p: closed form, simulation, and the closed form of the altered model."""
    p = np.linspace(0, 1, 1001)
    axis.plot(p, np.sqrt(student.snr_squared(p)), color=COLORS[color], label="closed form")
    axis.plot(p, np.sqrt(altered.snr_squared(p)), color=COLORS["grey"], linestyle=LINES[1], label=cause)
    generator = np.random.default_rng(seed)
    estimates = [simulate(student, float(x), generator) for x in PASS_RATES]
    value = np.array([e.snr for e in estimates])
    error = np.abs(np.array([[e.snr_low, e.snr_high] for e in estimates]).T - value)
    axis.errorbar(
        PASS_RATES, value, error, fmt=MARKERS[0], color=COLORS["black"], markerfacecolor="white", elinewidth=0.8, label="simulated"
    )
    axis.set(xlabel="pass rate p", ylabel="SNR(p)", ylim=(0, 1.1 * axis.get_ylim()[1]))


def draw(out: Path) -> list[Path]:
    """Draw the three panels into out/."""
    figure, axes = new_figure("double", 2.8, ncols=3)
    logistic, softmax = LogisticStudent(), SoftmaxStudent()
    draw_model(axes[0], logistic, LogisticStudent(noise_floor=0.0), "no noise floor", "blue", seed=1)
    draw_model(axes[1], softmax, SoftmaxStudent(teacher_error=0.1), "teacher wrong on 10 %", "orange", seed=2)
    axes[0].set_title("(a) logistic student", loc="left")
    axes[1].set_title("(b) softmax student", loc="left")
    label(axes[0], (0.5, 0.72), "no noise\nfloor", "grey", (-6, 8), ha="right")
    label(axes[0], (0.5, 0.6), "closed form,\nsimulated", "blue", (0, -24), ha="center")
    label(axes[1], (0.5, 0.12), "closed form,\nsimulated", "orange", (10, 8))
    label(axes[1], (0.4, 0.09), "teacher wrong\non 10 %", "grey", (-12, -38), ha="center")

    style = 0
    for student, name, color in ((logistic, "logistic", "blue"), (softmax, "softmax", "orange")):
        for end, p in (("p", BOUNDARY), ("1-p", 1 - BOUNDARY)):
            snr_squared = student.snr_squared(p)
            near = BOUNDARY < 1e-3
            slope, _ = log_log_slope(BOUNDARY[near], snr_squared[near])
            axes[2].loglog(BOUNDARY, snr_squared, color=COLORS[color], linestyle=LINES[style % 2], label=f"{name}, {end}: {slope:.2f}")
            # The two upper lines start close to each other: their names part.
            up = {("logistic", "p"): 4, ("softmax", "p"): -3}.get((name, end), 0)
            label(axes[2], (BOUNDARY[0], snr_squared[0]), f"{name}, {end}: {slope:.2f}", color, (-4, up), ha="right")
            style += 1
    axes[2].set(xlabel="distance from p = 0 or p = 1", ylabel="SNR$^2$", xlim=(10**-7.9, 0.2), ylim=(1e-11, 1))
    axes[2].set_xticks([1e-4, 1e-2])  # left of them stand the names
    axes[2].minorticks_off()
    axes[2].set_title("(c) slopes near the ends", loc="left")
    put(figure, HEADLINE)
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
