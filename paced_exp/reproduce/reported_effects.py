"""The paper's effects in our contrasts: as points, and as shares of what its uniform row gains over its base.

A share travels between scales where points do not: the paper's tasks leave more to gain than the desk's. The paper's benchmarks stand in
the places of our tiers, each with the same weight.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from paced_exp.reproduce.claims import Contrast
from paced_exp.reproduce.grids import BY_NAME, Row, Table
from paced_exp.reproduce.reported import Reported

SAMPLES = 8  # behind each of the paper's means
# By protocol and setup: our table beside the paper's accuracies, with uniform and base; the rows that train as long as it says have that uniform row.
MAIN_TABLES = {
    (1, "distillation"): "distillation",
    (1, "self-distillation"): "self-distillation",
    (2, "distillation"): "one-pass",
    (2, "self-distillation"): "self-one-pass",
}
_SHORT = ("one-pass-short", "uniform-short")  # of half the updates in the second protocol


@dataclass(frozen=True)
class ReportedEffect:
    """points: the paper's effect. share, error: of uniform's gain over the base, with the standard error that the printed ± give.

    The paper prints means over eight samples ± their standard deviation; an error is the latter over sqrt(8), numbers being independent.
    Rows that it prints without ± add nothing. uniform, base: (table, row) of ours whose difference is our gain.
    """

    points: float
    share: float
    error: float
    uniform: tuple[str, str]
    base: tuple[str, str]


@cache
def reported_effect(contrast: Contrast) -> ReportedEffect | None:
    """The paper's effect in a contrast; None where it gives none, or where the contrast has a margin and so claims no size."""
    rows = [BY_NAME[table].row(name) for _, table, name in contrast.placed]
    kind = (BY_NAME[contrast.table].protocol, rows[0].setup)
    if (
        contrast.margin
        or contrast.measure not in ("primary", "hardest")
        or len({row.setup for row in rows}) != 1
        or kind not in MAIN_TABLES
    ):
        return None
    main = BY_NAME[MAIN_TABLES[kind]]
    uniform = _uniform(main, rows)
    if uniform is None:
        return None
    effect = [(factor, _values(BY_NAME[table], name, main)) for factor, table, name in contrast.placed]
    gain = [(1.0, _values(main, "uniform", main)), (-1.0, _values(main, "base", main))]
    at = slice(2, 3) if contrast.measure == "hardest" else slice(0, 3)
    numbers: dict[tuple[str, int], tuple[float, float | None]] = {}
    coefficients: dict[str, dict[tuple[str, int], float]] = {"effect": defaultdict(float), "gain": defaultdict(float)}
    for part, terms in (("effect", effect), ("gain", gain)):
        for factor, found in terms:
            if found is None:
                return None
            name, values = found
            chosen = list(enumerate(values))[at]
            for benchmark, pair in chosen:
                numbers[name, benchmark] = pair
                coefficients[part][name, benchmark] += factor / len(chosen)
    points, gained = (sum(coefficients[part][key] * value for key, (value, _) in numbers.items()) for part in ("effect", "gain"))
    share = points / gained
    # Delta method for points / gained, every printed number independent of the others.
    slopes = {key: (coefficients["effect"][key] - share * coefficients["gain"][key]) / gained for key in numbers}
    error = math.sqrt(sum((slopes[key] * (spread or 0.0)) ** 2 for key, (_, spread) in numbers.items()) / SAMPLES)
    return ReportedEffect(points, share, error, uniform, (main.name, "base"))


def _uniform(main: Table, rows: Sequence[Row]) -> tuple[str, str] | None:
    """The unweighted row to whose gain these rows are compared: in the second protocol, of one pass and of as many updates. None where there is none."""
    if main.protocol == 1:
        return main.name, "uniform"
    if any((row.options or {}).get("regime") != "one-pass" for row in rows):
        return None
    lengths = {row.updates for row in rows}
    if lengths == {1.0}:
        return main.name, "uniform"
    return _SHORT if lengths == {0.5} and rows[0].setup == "distillation" else None


def _values(table: Table, name: str, main: Table) -> tuple[str, list[tuple[float, float | None]]] | None:
    """The paper's numbers of a row, with the name it has there: of the table's own; else of the setup's main table.

    There they are those of the name that the row says it has, in the second protocol, or of the row of equal options, in the first.
    """
    reported, row = _reported(), table.row(name)
    if (own := reported.accuracies(table, row)) is not None:
        return f"{table.reported}/{row.reported}", own
    if main.protocol == 2:
        twin = row if table.reported is None else None
    else:
        twin = next((other for other in main.rows if _same(other, row)), None)
    found = None if twin is None else reported.accuracies(main, twin)
    return None if twin is None or found is None else (f"{main.reported}/{twin.reported}", found)


def _same(a: Row, b: Row) -> bool:
    return (a.options, a.setup, a.updates, a.recompute_every) == (b.options, b.setup, b.updates, b.recompute_every)


@cache
def _reported() -> Reported:
    return Reported()
