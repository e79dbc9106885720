"""Figure 10: the bell that unequal bins draw, beside the unbiased curve of the same gradients. The README's picture.

python -m figures.figure10_bell [--out figures/out] [--results results] [--scale desk]
"""

from pathlib import Path
from typing import Any

import numpy as np

from figures.command import run, undrawn
from figures.headlines import label, put
from paced_exp.plotting.style import COLORS, MARKERS, new_figure, save_figure
from paced_exp.probe.verdict import by_rule, ends_to_middle
from paced_exp.reproduce.c1 import probe_records
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.probes import probes_of
from paced_exp.reproduce.scales import DESK, DESK_V1

NAME = "figure10_bell"
# The second protocol's probes have ranges of one size; the bins of unequal sizes were measured in the first.
BINS_OF = {DESK.name: DESK_V1.name}
ENDS = (("low", "never solves"), ("high", "always solves"))
CAPTION = """
Gradient SNR of {student} against its pass rate k/{rollouts}, before any training, two ways from the same problems. Crosses: the naive estimate
||mean g|| / sqrt(tr Cov g) in bins as random problems fill them, {fewest} to {most} problems each. Dashed: its floor 1/sqrt(n), which is what pure noise
shows. Open circles: the same bins without that floor, the root of the naive estimate's square less 1/n. They have no intervals, and small bins of heavy-tailed
gradients may still lie too high. Points: the estimate of SNR squared without bias, and its root, with equally many
problems in each bin ({n}), and its 95 % interval. Grey: the interval of the middle's, pass rates from 0.3 to 0.7. Against half of the middle's SNR squared:
{verdict}.
"""


def headline(record: dict[str, Any]) -> str:
    """The message in two lines, by the intervals at the ends and no more."""
    return (
        f"With {record['bins'][0]['n']:,} problems in every bin, {ends_to_middle(record, ('k = 0', 'k = K'))}.\n"
        "In unequal bins the usual (naive) estimate draws a peak, and its noise floor is part of it"
    )


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw into out/, or that the probe was not run. Raises `UserError` for a damaged record."""
    chosen = scale_named(BINS_OF.get(scale, scale), results)
    found = probe_records(results, chosen).get(1)
    if found is None or "artefact" not in found[0]:
        return undrawn(out, NAME, f"The bell of unequal bins at {scale} scale", probes_of(chosen)[:1])
    record, artefact = found[0], found[0]["artefact"]
    figure, axis = new_figure("double", 3.2)
    rates = [row["pass_rate"] for row in record["bins"]]
    snr = np.array([row["snr"] for row in record["bins"]])
    low, high = (np.array([row[f"snr_{end}"] for row in record["bins"]]) for end in ("low", "high"))
    uneven = [row["pass_rate"] for row in artefact]
    naive, floor = ([row[name] for row in artefact] for name in ("snr_naive", "floor"))
    axis.plot(uneven, naive, color=COLORS["purple"], marker="x", ms=4)
    axis.plot(uneven, floor, color=COLORS["purple"], ls="--", lw=0.9)
    without = [max(0.0, row["snr_naive"] ** 2 - row["floor"] ** 2) ** 0.5 for row in artefact]
    axis.plot(uneven, without, color=COLORS["purple"], marker="o", mfc="white", ms=4, lw=0.6, ls=":")
    axis.errorbar(rates, snr, [snr - low, high - snr], color=COLORS["blue"], marker=MARKERS[0], capsize=2)
    judged = record["verdict"]["low"]
    if judged["difference"] is not None:
        middle = [max(0.0, judged[f"middle_{end}"]) ** 0.5 for end in ("low", "high")]
        axis.axhspan(*middle, color=COLORS["grey"], alpha=0.2, lw=0)
        label(axis, (rates[len(rates) // 2], middle[0]), "band: the middle, pass rates from 0.3 to 0.7", "grey", (60, -42), ha="center")
    at = int(np.argmax(naive))
    sizes = [row["n"] for row in artefact]
    unequal = f"naive estimate, bins of\n{min(sizes):,} to {max(sizes):,} problems"
    label(axis, (uneven[at], naive[at]), unequal, "purple", (-34, 2), ha="right")
    label(axis, (uneven[2], floor[2]), "floor of the naive estimate,\n1/√n: what pure noise shows", "purple", (16, -32), ha="center")
    label(axis, (uneven[at], without[at]), "the same bins,\nfloor removed", "purple", (36, 12), line=True)
    label(axis, (rates[0], snr[0]), f"noise-corrected, {record['bins'][0]['n']:,} problems\na bin; bars: 95 %", "blue", (4, 34))
    axis.set(
        xlabel=f"pass rate of the student: k correct of K = {record['config']['K']} rollouts",
        ylabel="gradient SNR",
        ylim=(0, 1.1 * max(naive)),
    )
    put(figure, headline(record))
    text = CAPTION.format(
        student=record["config"]["student"],
        rollouts=record["config"]["K"],
        fewest=min(sizes),
        most=max(sizes),
        n=record["bins"][0]["n"],
        verdict="; ".join(f"where the student {does}, {by_rule(record['verdict'][end])}" for end, does in ENDS),
    )
    return save_figure(figure, NAME, out, caption=text)


if __name__ == "__main__":
    run(draw, __doc__)
