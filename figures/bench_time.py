"""Where the processor time of a default probe and a default distillation goes, from the committed record of `python -m bench.time`.

python -m figures.bench_time --out results/bench [--record results/bench/time.json]
"""

from pathlib import Path
from typing import Any

from figures.command import bench_command
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.plotting.style import COLORS, new_figure, save_figure

TITLES = {"probe": "default probe", "distill": "default distillation"}
HATCHES = ("", "////", "", "....", "", "xxxx", "")  # neighbours are told apart in grey too
_NAMED = 0.06  # of the longer bar: from this share on a part's seconds are written into it
_IN_A_BAR: dict[str, Any] = {
    **{"ha": "center", "va": "center", "fontsize": 6},
    "bbox": {"facecolor": "white", "edgecolor": "none", "boxstyle": "round,pad=0.15"},  # readable over hatches
}


def draw(record: dict[str, Any], out: Path) -> list[Path]:
    """A panel a command, with a bar before and one now, stacked by part. Raises `UserError` for a record without measured time."""
    rows = record["rows"]
    commands = [command for command in TITLES if any(row["command"] == command for row in rows)]
    if not commands:
        raise UserError("the record holds no measured time; make it again with: python -m bench.time")
    parts = [part for part in dict.fromkeys(row["part"] for row in rows) if any(row["seconds"] > 0 for row in rows if row["part"] == part)]
    figure, panels = new_figure("double", 0.9 + 0.75 * len(commands), nrows=len(commands), squeeze=False)
    said = []
    for axis, command in zip(panels[:, 0], commands, strict=True):
        seconds = {(row["when"], row["part"]): row["seconds"] for row in rows if row["command"] == command}
        totals = {when: sum(seconds[when, part] for part in parts) for when in ("before", "now")}
        for place, when in enumerate(totals):
            start = 0.0
            for part, color, hatch in zip(parts, COLORS.values(), HATCHES, strict=False):
                width = seconds[when, part]
                axis.barh(
                    -place, width, left=start, color=color, hatch=hatch, edgecolor="white", lw=0.4, label=part if place == 0 else None
                )
                if width >= _NAMED * max(totals.values()):
                    axis.text(start + width / 2, -place, f"{width:.0f}", **_IN_A_BAR)
                start += width
            axis.text(start, -place, f" {start:.0f} s", va="center", fontsize=7)
        axis.set(yticks=[0, -1], yticklabels=["before", "now"], xlim=(0, 1.1 * max(totals.values())))
        axis.grid(axis="y", visible=False)
        said.append(f"the {TITLES[command]} takes {totals['now'] / totals['before']:.2f} of what it took")
        axis.set_title(f"{said[-1][0].upper()}{said[-1][1:]}", loc="left")
    panels[-1, 0].set(xlabel="processor seconds")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    settings, machine = record["settings"], record["provenance"]["machine"]
    caption = (
        f"Where the time goes: processor seconds of one thread ({machine['processor']}) by part, at commit {settings['before'][:9]} (before) and now, "
        f"with the package's defaults; {'; '.join(said)}."
    )
    return save_figure(figure, "bench_time", out, caption=caption)


main = bench_command(draw, "time", __doc__ or "")


if __name__ == "__main__":
    exit_cleanly(main)
