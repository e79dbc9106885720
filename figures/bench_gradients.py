"""Cost of exact per-problem gradients, from the committed record of `python -m bench.gradients`.

python -m figures.bench_gradients --out figures/out [--record results/bench/gradients.json]
"""

from pathlib import Path
from typing import Any

from figures.command import bench_command
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure, save_figure

TARGET = 1.2
STYLE = dict(
    zip(
        ("plain", "engine", "engine with sketch", "Opacus fast gradient clipping", "loop of single passes", "dattri-llm"),
        COLORS.values(),
        strict=False,
    )
)


def _lines(axes: Any, rows: list[dict[str, Any]], x: str, y: str) -> None:
    """One line a contender: column y over column x."""
    for number, (name, color) in enumerate(STYLE.items()):
        own = sorted((row for row in rows if row["contender"] == name), key=lambda row: row[x])
        if own:
            values = [row[x] for row in own], [row[y] for row in own]
            axes.plot(*values, color=color, marker=MARKERS[number], ls=LINES[number], label=name)


def draw(record: dict[str, Any], out: Path) -> list[Path]:
    """Left: processor seconds over the number of problems. Right: ratio to the plain pass over the model's parameters."""
    rows = record["time"]
    if not rows:
        raise UserError("the record holds no measured time; make it again with: python -m bench.gradients")
    # The size at which most numbers of problems were measured, and the number at which most sizes were.
    size = max({row["size"] for row in rows}, key=lambda size: len({row["problems"] for row in rows if row["size"] == size}))
    number = max({row["problems"] for row in rows}, key=lambda number: len({row["size"] for row in rows if row["problems"] == number}))
    figure, (left, right) = new_figure("double", 2.9, ncols=2)
    _lines(left, [row for row in rows if row["size"] == size], "problems", "seconds")
    left.set(xscale="log", yscale="log", xlabel="problems", ylabel="processor seconds", title=f"{size} M parameters")
    measured = sorted({row["problems"] for row in rows if row["size"] == size})
    left.set_xticks(measured, labels=[str(problems) for problems in measured])
    left.minorticks_off()
    _lines(right, [row for row in rows if row["problems"] == number], "parameters", "total")
    right.axhline(TARGET, color=COLORS["grey"], lw=0.6)
    right.set(xscale="log", ylim=(0, None), xlabel="parameters", ylabel="ratio to the plain pass", title=f"{number} problems")
    right.legend(loc="upper left", bbox_to_anchor=(1, 1))
    machine = record["provenance"]["machine"]
    peers = "dattri-llm's norms, " if any(row["contender"] == "dattri-llm" for row in rows) else ""
    caption = (
        "Cost of every problem's exact gradient norm and of their sum, with and without a sketch, against a plain forward and backward pass of the "
        f"same batches, {peers}Opacus' fast gradient clipping, and one pass a problem. Processor time of one thread ({machine['processor']}), the "
        f"contenders in turn on every batch, the engine's checks of its first batch included; the grey line is the target of {TARGET}."
    )
    return save_figure(figure, "bench_gradients", out, caption=caption)


main = bench_command(draw, "gradients", __doc__ or "")


if __name__ == "__main__":
    exit_cleanly(main)
