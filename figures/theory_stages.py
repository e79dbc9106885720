"""Coverage, then consolidation: what forward and reverse KL reach, alone and in either order, from the record of `study_stages`.

python -m figures.theory_stages [--out figures/out]
"""

from pathlib import Path
from typing import Any

import numpy as np

from figures.command import run
from figures.headlines import label, put
from figures.study_stages import RECORD, STARTS, TEACHERS
from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure, save_figure
from paced_exp.reproduce.records import read_sealed
from paced_exp.reproduce.significance import side
from paced_theory.stages import SCHEDULES, mean_interval, run_schedule
from paced_theory.toy_students import GaussianStudent

NAME = "theory_stages"
Outcomes = dict[str, dict[str, dict[str, list[float]]]]  # by family, schedule and measure: a value a teacher
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


MORE = {1: "more", -1: "less", 0: "not clearly more or less"}


def gain(outcomes: Outcomes, over: str) -> int:
    """The sign of the mass on the best mode that forward, then reverse adds to `over`, paired by teacher, where all families have the same."""
    found = set()
    for by_schedule in outcomes.values():
        difference = np.subtract(by_schedule["forward-reverse"]["mass"], by_schedule[over]["mass"])
        interval = mean_interval(difference)
        found.add(side(interval.low, interval.high))
    return found.pop() if len(found) == 1 else 0


def headline(outcomes: Outcomes) -> str:
    """The message in two lines, by the intervals of the differences."""
    forward, reverse = (MORE[gain(outcomes, over)] for over in ("forward", "reverse"))
    joined = "and" if forward == reverse else "but"
    return (
        f"Forward KL, then reverse KL, puts {forward} mass on the teacher's best mode than forward KL alone,\n"
        f"{joined} {reverse} than reverse KL alone"
    )


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
            name = schedule.replace("-", ", then ") if number == 0 else None
            axis.plot(x, gaussian(mean, np.exp(log_sigma)), color=COLORS[color], linestyle=line, linewidth=0.7, label=name)
    axis.set(xlabel="x", ylabel="density", ylim=(0, 1.5))
    axis.set_title("(a) what each reaches for one\nteacher (grey), 24 starts", loc="left")
    label(axis, (-2, 1.3), "reverse: one\nmode or the other", "orange", (10, -2))
    label(axis, (2, 0.45), "forward,\nthen reverse", "green", (4, 14), ha="center")
    label(axis, (-0.2, 0.19), "forward", "blue", (2, 14), ha="center", line=True)


def draw(out: Path) -> list[Path]:
    """Draw the example and the study into out/."""
    figure, axes = new_figure("double", 3.0, ncols=3)
    draw_example(axes[0])
    outcomes = read_sealed(RECORD)["outcomes"]
    families = (
        ("mixture", "Gaussian for a mixture", "blue", MARKERS[0], -0.1),
        ("softmax", "softmax, 3 of 12", "orange", MARKERS[1], 0.1),
    )
    for family, name, color, marker, offset in families:
        for axis, field in ((axes[1], "mass"), (axes[2], "stuck")):
            intervals = [mean_interval(outcomes[family][schedule][field]) for schedule in SCHEDULES]
            value = np.array([i.value for i in intervals])
            error = np.array([[i.value - i.low, i.high - i.value] for i in intervals]).T
            axis.errorbar(np.arange(4) + offset, value, error, fmt=marker, color=COLORS[color], elinewidth=0.9, capsize=2, label=name)
    for axis, title in ((axes[1], "(b) mass on the teacher's\nbest mode"), (axes[2], "(c) share of starts stuck in\na bad minimum")):
        axis.set_xticks(range(4), [LABELS[schedule] for schedule in SCHEDULES], fontsize=6)
        axis.set_title(title, loc="left")
        axis.set(ylim=(-0.02, 0.8), xlim=(-0.5, 3.5))
    label(axes[1], (1.5, 0.68), "Gaussian for a mixture", "blue", ha="center")
    label(axes[1], (1.5, 0.38), "softmax, 3 of 12", "orange", ha="center")
    put(figure, headline(outcomes))
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
