"""Figure 6: the claims at a glance, a forest plot: effect and 95 % interval of every hypothesis.

python -m figures.figure6_claims [--out figures/out] [--results results] [--scale desk]
"""

from pathlib import Path

from figures.command import run_on_records
from paced_exp.plotting.style import COLORS, MARKERS, new_figure, save_figure
from paced_exp.reproduce.claims import MARGIN
from paced_exp.reproduce.rates import scale_named
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.verdicts import LEVEL, Finding, outcomes

NAME = "figure6_claims"
LOOKS = {"replicates": ("blue", MARKERS[0]), "does not replicate": ("orange", MARKERS[1]), "not decided": ("grey", MARKERS[2])}
CAPTION = f"""
Every hypothesis behind the paper's claims at {{scale}} scale: what was measured, oriented so that the claim lies to the right of zero, with its 95 %
interval over seeds and problems. Left: differences in points of accuracy; right: C1, differences of SNR^2, from the probe. Circle: replicates; square: does not
replicate; triangle: not decided, by the rule of docs/protocol.md (Holm's method at {LEVEL:g} over all of them). C8.suffices and C9 have the margin of
{MARGIN:g} point added: there, zero means worse by it. A name without a point lacks runs that were planned.
"""


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw both columns into out/."""
    found = [finding for outcome in outcomes(Results(results), scale_named(scale, results)) for finding in outcome.findings]
    figure, axes = new_figure("double", 4.2, ncols=2, width_ratios=(2.2, 1))
    for axis, unit, label in ((axes[0], "points", "points of accuracy"), (axes[1], "SNR²", "SNR²(middle)/2 − SNR²(end)")):
        rows = [finding for finding in found if finding.unit == unit]
        _forest(axis, rows)
        axis.set(xlabel=label)
    used = {finding.verdict for finding in found if finding.value is not None}
    for verdict, (color, marker) in LOOKS.items():
        if verdict in used:
            axes[0].plot([], [], color=COLORS[color], marker=marker, ls="none", label=verdict)
    if used:
        axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)
    return save_figure(figure, NAME, out, caption=CAPTION.format(scale=scale))


def _forest(axis: object, rows: list[Finding]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axis, Axes)
    axis.axvline(0, color=COLORS["black"], lw=0.8)
    for index, finding in enumerate(rows):
        if finding.value is None or finding.low is None or finding.high is None:
            continue
        color, marker = LOOKS[finding.verdict]
        errors = [[finding.value - finding.low], [finding.high - finding.value]]
        axis.errorbar([finding.value], [index], xerr=errors, color=COLORS[color], marker=marker, capsize=2, lw=1)
    axis.set_yticks(range(len(rows)), [finding.hypothesis for finding in rows], fontsize=6)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")


if __name__ == "__main__":
    run_on_records(draw, __doc__)
