"""Figure 12: concise self-distillation (OPSDC), length against accuracy by difficulty: are easy problems compressed most?

python -m figures.figure12_concise [--out figures/out] [--results results] [--scale desk]
"""

from pathlib import Path
from typing import Any

from figures.command import run
from figures.headlines import label, put
from paced_exp.plotting.style import COLORS, MARKERS, new_figure, save_figure
from paced_exp.reproduce.concise_findings import TABLE, TOLD, TRAINED, Fifth, by_difficulty, easiest_against_hardest
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.printed_table import with_interval
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.significance import Estimate, side

NAME = "figure12_concise"
LOOKS = {TOLD: "grey", "uniform": "blue", "paced": "orange", "rate-2e-4": "sky", "rate-2e-3": "green"}
SAID = {
    1: "Concise self-distillation shortens easy problems most",
    -1: "Concise self-distillation shortens hard problems most",
    0: "No difference between easy and hard problems is clear in what concise self-distillation saves",
}
CAPTION = """
Concise self-distillation (OPSDC) of student-concise at {scale} scale, table 42, in fifths of the untrained student's pass rate over 32 samples. Left: share of the tokens
that are saved; bars: 95 % intervals over seeds and problems. Grey: the untrained student when its prompt asks for a concise answer, which is the teacher. Right: mean length
against accuracy, an arrow from the untrained student to each row. {found}
"""


def headline(difference: Estimate | None) -> str:
    """The message, by the interval of the easiest fifth less the hardest, of the row that saves most."""
    if difference is None:
        return "What concise self-distillation saves, and what it costs, by difficulty"
    return f"{SAID[side(difference.low, difference.high)]}:\neasiest fifth less hardest fifth, {with_interval(difference)} points of tokens saved"


def draw_panels(saved: Any, lengths: Any, found: dict[str, list[Fifth]]) -> None:
    """Both panels of what was run."""
    saved.set(xlabel="pass rate of the untrained student", ylabel="tokens saved, %", xlim=(0, 1))
    lengths.set(xlabel="tokens of a response, mean", ylabel="accuracy, %")
    saved.axhline(0, color=COLORS["grey"], lw=0.6)
    for number, (name, fifths) in enumerate(found.items()):
        color, shift = COLORS[LOOKS[name]], 0.015 * (number - 1)
        x = [(one.low + one.high) / 2 + shift for one in fifths]
        y = [one.saved_once for one in fifths]
        bars = [
            [0.0 if one.saved is None else end(one.saved) for one in fifths]
            for end in (lambda e: e.value - e.low, lambda e: e.high - e.value)
        ]
        saved.errorbar(x, y, bars, color=color, marker=MARKERS[number], capsize=2, lw=0.9, label=BY_NAME[TABLE].row(name).label)
        for one in fifths:
            start, end_ = (one.tokens, one.accuracy), (one.tokens * (1 - one.saved_once / 100), one.accuracy + one.gained_once)
            lengths.annotate("", end_, start, arrowprops={"arrowstyle": "->", "color": color, "lw": 0.9, "shrinkA": 0, "shrinkB": 0})
            lengths.plot(*zip(start, end_, strict=True), ls="none", marker=MARKERS[number], ms=2.5, color=color)
    saved.legend(frameon=False, fontsize=6)
    hardest, *_, easiest = next(iter(found.values()))
    label(lengths, (hardest.tokens, hardest.accuracy), "hardest fifth", "grey", (6, -4))
    label(lengths, (easiest.tokens, easiest.accuracy), "easiest fifth", "grey", (6, 4))


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw what was run into out/, or that nothing was."""
    read, chosen = Results(results), scale_named(scale, results)
    found = {name: fifths for name in (TOLD, *TRAINED) if len(fifths := by_difficulty(read, chosen, name)) >= 2}
    if not found:
        figure, axis = new_figure("single", 2.0)
        axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=COLORS["grey"])
        return save_figure(figure, NAME, out, caption=CAPTION.format(scale=scale, found="Nothing was run."))
    figure, axes = new_figure("double", 2.8, ncols=2)
    draw_panels(*axes, found)
    differences = {name: easiest_against_hardest(fifths) for name, fifths in found.items() if name != TOLD}
    put(figure, headline(differences.get(TRAINED[-1])))
    told = [
        f"{BY_NAME[TABLE].row(name).label}: easiest fifth less hardest fifth {with_interval(each)} points of tokens saved"
        for name, each in differences.items()
        if each is not None
    ]
    return save_figure(figure, NAME, out, caption=CAPTION.format(scale=scale, found=f"{'; '.join(told)}." if told else ""))


if __name__ == "__main__":
    run(draw, __doc__)
