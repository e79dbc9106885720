"""Coverage, then consolidation: what forward and reverse KL reach, alone and in either order, from the record of `study_stages`.

python -m figures.theory_stages [--out figures/out]
"""

from pathlib import Path
from typing import Any

import numpy as np

from figures.command import run
from figures.study_stages import RECORD, STARTS, TEACHERS
from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure, save_figure
from paced_exp.reproduce.records import read_sealed
from paced_theory.stages import SCHEDULES, mean_interval, run_schedule
from paced_theory.toy_students import GaussianStudent

NAME = "theory_stages"
EXAMPLE = GaussianStudent((0.55, 0.45), (-2.0, 2.0), (0.3, 0.9))
LABELS = {"forward": "forward", "reverse": "reverse", "forward-reverse": "forward,\nreverse", "reverse-forward": "reverse,\nforward"}
CAPTION = f"""
Forward KL, reverse KL and both orders of the two as gradient flows of equal total time, for students too small for their teachers. (a) One
teacher (grey area: a mixture of two Gaussians, its best mode the narrow one on the left, weight 0.55) and the single Gaussians that the
schedules reach from 24 random starts; thin lines are starts. Reverse KL (dashed) splits them between the modes; forward KL (solid) unites them;
forward, then reverse (dash-dotted) ends on the wide, second-best mode from every start. (b) Mean mass on the teacher's best mode and (c) share of
starts stuck in a minimum more than 0.01 nats above the best one found for their last loss, over {TEACHERS["mixture"]} random mixtures (circles) and
{TEACHERS["softmax"]} random 3-parameter softmax students of 12-category teachers (squares), {STARTS} starts each; bars are 95 % intervals over
teachers. A reverse stage after forward KL adds mass on the best mode to forward KL alone (consolidation). Against reverse KL alone it adds
none that these teachers show; it removes the dependence on the start, and for mixtures some of the bad minima, not all.
"""


def draw_example(axis: Any) -> None:
    """Densities of one teacher and of the students that three schedules reach."""
    x = np.linspace(-5, 6, 600)

    def gaussian(mean: float, sigma: float) -> np.ndarray:
        return np.exp(-((x - mean) ** 2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))

    teacher = sum(w * gaussian(m, s) for w, m, s in zip(EXAMPLE.weights, EXAMPLE.means, EXAMPLE.scales, strict=True))
    axis.fill_between(x, teacher, color=COLORS["grey"], alpha=0.3, linewidth=0)
    starts = EXAMPLE.draw_starts(24, np.random.default_rng(0))
    for schedule, color, line in (("reverse", "orange", LINES[1]), ("forward", "blue", LINES[0]), ("forward-reverse", "green", LINES[2])):
        for number, (mean, log_sigma) in enumerate(run_schedule(EXAMPLE, starts, schedule)):
            label = schedule.replace("-", ", then ") if number == 0 else None
            axis.plot(x, gaussian(mean, np.exp(log_sigma)), color=COLORS[color], linestyle=line, linewidth=0.7, label=label)
    axis.set(xlabel="x", ylabel="density", title="(a) one teacher", ylim=(0, 1.9))
    axis.legend(loc="upper right")


def draw(out: Path) -> list[Path]:
    """Draw the example and the study into out/."""
    figure, axes = new_figure("double", 2.6, ncols=3)
    draw_example(axes[0])
    outcomes = read_sealed(RECORD)["outcomes"]
    families = (
        ("mixture", "Gaussian for a mixture", "blue", MARKERS[0], -0.1),
        ("softmax", "softmax, 3 of 12", "orange", MARKERS[1], 0.1),
    )
    for family, label, color, marker, offset in families:
        for axis, field in ((axes[1], "mass"), (axes[2], "stuck")):
            intervals = [mean_interval(outcomes[family][schedule][field]) for schedule in SCHEDULES]
            value = np.array([i.value for i in intervals])
            error = np.array([[i.value - i.low, i.high - i.value] for i in intervals]).T
            axis.errorbar(np.arange(4) + offset, value, error, fmt=marker, color=COLORS[color], elinewidth=0.9, capsize=2, label=label)
    for axis, title in ((axes[1], "(b) mass on the best mode"), (axes[2], "(c) share of starts stuck")):
        axis.set_xticks(range(4), [LABELS[schedule] for schedule in SCHEDULES], fontsize=6)
        axis.set(title=title, ylim=(-0.02, 0.8), xlim=(-0.5, 3.5))
    axes[1].legend(loc="upper left")
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
