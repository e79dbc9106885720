"""SNR collapse at both boundaries in two models: closed form against simulated gradients, and what removes it.

python -m figures.theory_collapse [--out figures/out]
"""

from pathlib import Path
from typing import Any

import numpy as np

from figures.command import run
from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure, save_figure
from paced_theory.collapse import LogisticStudent, SoftmaxStudent
from paced_theory.representation import log_log_slope
from paced_theory.snr import SNREstimate, estimate_snr_from_sums

NAME = "theory_collapse"
PROBLEMS = 4000
PASS_RATES = np.linspace(0.0, 1.0, 11)
BOUNDARY = np.geomspace(1e-4, 0.1, 40)
CAPTION = f"""
The gradient SNR collapses at both ends of the pass rate p, in two models where it is known in closed form. (a) Logistic student: gradient
-(1-p)(sqrt(p) u + xi) + eps, where u is a direction all problems share, xi is particular to a problem and eps is a noise floor. (b) Linear
softmax student over 8 tokens under forward KL: 3 answer tokens, whose probabilities multiply to p, and 2 style tokens that set the floor.
Lines: closed form. Points: unbiased estimates from the exact gradients of {PROBLEMS} simulated problems, with 95 % jackknife intervals
(negative estimates drawn at 0). Dashed: the same model with one cause removed, and the collapse is gone or moved: in (a) without the noise
floor the SNR at p = 1 stays finite; in (b) a teacher that is wrong on 10 % of its tokens moves the zero from p = 1 to p = 0.73. (c) SNR^2 of
both models near the boundaries against the distance from it, p or 1 - p, on logarithmic axes. The exponents are 1 at p = 0 (twice the
exponent with which problems come to share u) and 2 at p = 1; the legend gives the slopes fitted below a distance of 0.001.
"""


def simulate(student: LogisticStudent | SoftmaxStudent, p: float, generator: np.random.Generator) -> SNREstimate:
    """Unbiased SNR of PROBLEMS simulated gradients at pass rate p."""
    gradients = student.gradients(p, PROBLEMS, generator)
    return estimate_snr_from_sums((gradients**2).sum(axis=1), gradients @ gradients.sum(axis=0))


def draw_model(axis: Any, student: Any, altered: Any, label: str, color: str, seed: int) -> None:
    """SNR over p: closed form, simulation, and the closed form of the altered model."""
    p = np.linspace(0, 1, 1001)
    axis.plot(p, np.sqrt(student.snr_squared(p)), color=COLORS[color], label="closed form")
    axis.plot(p, np.sqrt(altered.snr_squared(p)), color=COLORS["grey"], linestyle=LINES[1], label=label)
    generator = np.random.default_rng(seed)
    estimates = [simulate(student, float(x), generator) for x in PASS_RATES]
    value = np.array([e.snr for e in estimates])
    error = np.abs(np.array([[e.snr_low, e.snr_high] for e in estimates]).T - value)
    axis.errorbar(
        PASS_RATES, value, error, fmt=MARKERS[0], color=COLORS["black"], markerfacecolor="white", elinewidth=0.8, label="simulated"
    )
    axis.set(xlabel="pass rate p", ylabel="SNR(p)", ylim=(0, 1.45 * axis.get_ylim()[1]))
    axis.legend(loc="upper left")


def draw(out: Path) -> list[Path]:
    """Draw the three panels into out/."""
    figure, axes = new_figure("double", 2.5, ncols=3)
    logistic, softmax = LogisticStudent(), SoftmaxStudent()
    draw_model(axes[0], logistic, LogisticStudent(noise_floor=0.0), "no noise floor", "blue", seed=1)
    draw_model(axes[1], softmax, SoftmaxStudent(teacher_error=0.1), "teacher wrong on 10 %", "orange", seed=2)
    axes[0].set_title("(a) logistic student")
    axes[1].set_title("(b) softmax student")

    style = 0
    for student, name, color in ((logistic, "logistic", "blue"), (softmax, "softmax", "orange")):
        for end, p in (("p", BOUNDARY), ("1-p", 1 - BOUNDARY)):
            snr_squared = student.snr_squared(p)
            near = BOUNDARY < 1e-3
            slope, _ = log_log_slope(BOUNDARY[near], snr_squared[near])
            axes[2].loglog(BOUNDARY, snr_squared, color=COLORS[color], linestyle=LINES[style % 2], label=f"{name}, {end}: {slope:.2f}")
            style += 1
    axes[2].set(xlabel="distance from the boundary", ylabel="SNR$^2$", title="(c) exponents", ylim=(1e-13, 1))
    axes[2].legend(loc="lower right")
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
