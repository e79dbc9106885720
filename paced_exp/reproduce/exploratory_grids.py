"""Exploratory tables of the second protocol, of three seeds each: students of other sizes, pools that teach little, kernels in self-distillation.

They were declared after the first runs had begun (docs/protocol-v2.md says what had been seen). No hypothesis rests on them.
"""

from dataclasses import replace
from typing import Any

from paced_exp.reproduce.declared import Row, Table, declare
from paced_exp.reproduce.scale import Side
from paced_exp.reproduce.second_grids import MEASURED, base_row, one_pass_row, self_row

_LABS = ("desk", "smoke")  # scales of the lab's shipped models: what students of other sizes, and pools chosen by pass rate, are made for
_SIDES: dict[Side, str] = {"beyond": "beyond the student's reach", "mastered": "mastered by the student"}


def _exploratory(number: int, name: str, title: str, rows: tuple[Row, ...], scales: tuple[str, ...]) -> Table:
    """Differences to `uniform`. Nothing of it stands beside the paper's values, which are of other models and pools."""
    own = tuple(replace(row, reported=None) for row in rows)
    return Table(number, name, f"{title} (exploratory)", own, "uniform", MEASURED, scales=scales, seeds=3, exploratory=True)


def _of_size(number: int, size: str) -> Table:
    """A student of another size; its weights `aligned` are measured on itself."""
    setup = f"size-{size}"
    aligned = replace(one_pass_row("aligned", setup=setup), curve=f"aligned-{size}")
    rows = (base_row(setup), *(one_pass_row(method, setup=setup) for method in ("uniform", "paced")), aligned)
    return _exploratory(number, setup, f"A student of {size.upper()} parameters, one pass, equal updates", rows, _LABS)


def _skewed(number: int, side: Side) -> Table:
    """A pool most of whose problems teach little, a quarter of the updates. With weights of zero passed over, and left in the batch."""

    def row(method: str, ending: str = "", words: str = "", **options: Any) -> Row:
        return replace(one_pass_row(method, ending, words, updates=0.25, **options), chosen=side)

    rows = (
        base_row(),
        *map(row, ("uniform", "paced", "paced-eb")),
        *(row(method, "-published", ", weight zero stays in the batch", accounting="as-published") for method in ("paced", "hard-filter")),
    )
    title = f"A pool of which 80 % are {_SIDES[side]}, one pass, a quarter of the updates"
    return _exploratory(number, f"skewed-{side}", title, rows, _LABS)


for _table in (
    _of_size(37, "0.1m"),
    _of_size(38, "5m"),
    _skewed(39, "beyond"),
    _skewed(40, "mastered"),
    _exploratory(
        41,
        "kernels-self-one-pass",
        "Self-distillation, kernels against each other, one pass, equal updates",
        tuple(map(self_row, ("uniform", "paced", "maxrl", "aligned"))),
        ("smollm2", "smoke"),
    ),
):
    declare(_table)
