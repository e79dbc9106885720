"""Figure 6: the claims at a glance, a forest plot: effect and 95 % interval of every hypothesis.

python -m figures.figure6_claims [--out figures/out] [--results results] [--scale desk]
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

from matplotlib.axes import Axes

from figures.command import run
from figures.headlines import LINE, listed, put
from paced_exp.plotting.style import COLORS, MARKERS, new_figure, save_figure
from paced_exp.reproduce.claims import MARGIN
from paced_exp.reproduce.findings import LEVEL, Finding
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.verdicts import outcomes

NAME = "figure6_claims"
WIDTHS = (2.2, 1.0)  # of the two axes
LOOKS = {
    "replicates": ("blue", MARKERS[0]),
    "contradicted": ("orange", MARKERS[1]),
    "smaller than reported": ("purple", MARKERS[3]),
    "equivalent within 1 point": ("green", MARKERS[4]),
    "not decided": ("grey", MARKERS[2]),
}
END = {1: "bin", 2: "range"}  # by protocol: what C1 is asked of at both ends
CAPTION = f"""
Every hypothesis behind the paper's claims at {{scale}} scale: what was measured, oriented so that the claim lies to the right of zero, with its 95 %
interval over seeds and problems. Left: differences in points of accuracy; right: C1, half of the middle's SNR^2 less that of the {{end}}, from the probe. Cross: the
paper's effect, as its share of what uniform gains over the base, where it gives one. Beside each row the two verdicts by the rule of docs/protocol.md: by the
interval alone (first column) and corrected by Holm's method at {LEVEL:g} (second, which also marks the interval). C8.suffices and C9 have the margin of {MARGIN:g} point
added: there, zero means worse by it. A name without a point lacks runs that were planned.
"""


WORDS = {  # of so many hypotheses; an interval never shows that two things are equal, but it may hold less than a point
    "replicates": "{0} {hold} here",
    "contradicted": "{0} {go} the other way",
    "smaller than reported": "{0} {show} less than the paper's effect",
    "equivalent within 1 point": "{0} {make} no difference above 1 point",
    "not decided": "{0} {are} not decided",
}


def headline(found: Sequence[Finding]) -> str:
    """How many hypotheses have which corrected verdict, and how many were not measured."""
    measured = [finding for finding in found if finding.value is not None]
    if not measured:
        return f"None of the {len(found)} hypotheses has been measured"
    counts = Counter(finding.verdict for finding in measured)
    parts = [_counted(counts[verdict], words) for verdict, words in WORDS.items() if counts[verdict]]
    open_ = len(found) - len(measured)
    rest = f"; {open_} more {'was' if open_ == 1 else 'were'} not run" if open_ else ""
    return "\n".join(wrap(f"Of {len(measured)} measured hypotheses, {listed(parts)}{rest}", LINE))


def _counted(number: int, words: str) -> str:
    one = number == 1
    plurals = {verb: (f"{verb}es" if verb == "go" else f"{verb}s") if one else verb for verb in ("hold", "go", "show", "make")}
    return words.format(number, are="is" if one else "are", **plurals)


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw both columns into out/."""
    chosen = scale_named(scale, results)
    found = [finding for outcome in outcomes(Results(results), chosen) for finding in outcome.findings]
    figure, axes = new_figure("double", 4.6, ncols=2, width_ratios=WIDTHS)
    end = END[chosen.protocol]
    for axis, width, unit, label in zip(
        axes, WIDTHS, ("points", "SNR²"), ("points of accuracy", f"SNR²(middle)/2 − SNR²({end})"), strict=True
    ):
        rows = [finding for finding in found if finding.unit == unit]
        _forest(axis, rows, [0.06 * WIDTHS[0] / width, 0.12 * WIDTHS[0] / width])
        # C1's from the axis' right end on to the left: the panel is narrower than its label, which was cut at the edge of the page.
        axis.set_xlabel(label, loc="center" if unit == "points" else "right")
        if not any(finding.value is not None for finding in rows):
            axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=COLORS["grey"])
    put(figure, headline(found))
    axes[0].set_title("right of zero: as claimed", loc="right", fontsize=7, color=COLORS["grey"])
    used = {verdict for finding in found if finding.value is not None for verdict in (finding.verdict, finding.raw_verdict)}
    for verdict, (color, marker) in LOOKS.items():
        if verdict in used:
            axes[0].plot([], [], color=COLORS[color], marker=marker, ls="none", label=verdict)
    if any(finding.size for finding in found):
        axes[0].plot([], [], color=COLORS["black"], marker="x", ls="none", label="the paper's effect")
    if used:
        axes[0].legend(loc="upper center", bbox_to_anchor=(0.6, -0.12), ncols=3)
    return save_figure(figure, NAME, out, caption=CAPTION.format(scale=scale, end=end))


def _forest(axis: Axes, rows: list[Finding], columns: list[float]) -> None:
    """Intervals, and the two verdicts in columns beside the axis, so many of its widths from its right end."""
    axis.axvline(0, color=COLORS["black"], lw=0.8)
    beside = axis.get_yaxis_transform()  # x in shares of the axis' width
    measured = any(finding.value is not None for finding in rows)
    for place, head in zip(columns, ("alone", "corrected") if measured else (), strict=measured):
        axis.text(1 + place, 1, head, transform=axis.transAxes, fontsize=5, rotation=60, ha="left", va="bottom")
    for index, finding in enumerate(rows):
        if finding.value is None or finding.low is None or finding.high is None:
            continue
        color, marker = LOOKS[finding.verdict]
        errors = [[finding.value - finding.low], [finding.high - finding.value]]
        axis.errorbar([finding.value], [index], xerr=errors, color=COLORS[color], marker=marker, capsize=2, lw=1)
        if finding.size is not None:
            axis.plot([finding.size.reported * finding.size.gain], [index], color=COLORS["black"], marker="x", ls="none", ms=4)
        for place, verdict in zip(columns, (finding.raw_verdict, finding.verdict), strict=True):
            color, marker = LOOKS[verdict]
            axis.plot([1 + place], [index], color=COLORS[color], marker=marker, ls="none", transform=beside, clip_on=False, ms=4)
    axis.set_yticks(range(len(rows)), [finding.hypothesis for finding in rows], fontsize=6)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")


if __name__ == "__main__":
    run(draw, __doc__)
