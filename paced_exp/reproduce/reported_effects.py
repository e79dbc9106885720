"""The paper's effects in our contrasts: as points, and as shares of what its uniform row gains over its base.

A share travels between scales where points do not: the paper's tasks leave more to gain than the desk's. The paper's benchmarks stand in
the places of our tiers, each with the same weight.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cache

from paced_exp.reproduce.claims import Contrast
from paced_exp.reproduce.grids import BY_NAME, Row, Table
from paced_exp.reproduce.reported import Reported

SAMPLES = 8  # behind each of the paper's means
MAIN_TABLES = {"distillation": "distillation", "self-distillation": "self-distillation"}  # of a setup: where its uniform and base stand


@dataclass(frozen=True)
class ReportedEffect:
    """points: the paper's effect. share, error: of uniform's gain over the base, with the standard error that the printed ± give.

    The paper prints means over eight samples ± their standard deviation; an error is the latter over sqrt(8), numbers being independent.
    Rows that it prints without ± add nothing. main: our table with the uniform and base rows.
    """

    points: float
    share: float
    error: float
    main: str


@cache
def reported_effect(contrast: Contrast) -> ReportedEffect | None:
    """The paper's effect in a contrast; None where it gives none, or where the contrast has a margin and so claims no size."""
    setups = {BY_NAME[contrast.table].row(name).setup for _, name in contrast.terms}
    if contrast.margin or contrast.measure == "retention" or len(setups) != 1 or not setups <= MAIN_TABLES.keys():
        return None
    main = BY_NAME[MAIN_TABLES[next(iter(setups))]]
    effect = [(factor, _values(BY_NAME[contrast.table], name, main)) for factor, name in contrast.terms]
    gain = [(1.0, _values(main, "uniform", main)), (-1.0, _values(main, "base", main))]
    at = slice(2, 3) if contrast.measure == "hardest" else slice(0, 3)
    numbers: dict[tuple[str, int], tuple[float, float | None]] = {}
    coefficients: dict[str, dict[tuple[str, int], float]] = {"effect": defaultdict(float), "gain": defaultdict(float)}
    for kind, terms in (("effect", effect), ("gain", gain)):
        for factor, found in terms:
            if found is None:
                return None
            name, values = found
            chosen = list(enumerate(values))[at]
            for benchmark, pair in chosen:
                numbers[name, benchmark] = pair
                coefficients[kind][name, benchmark] += factor / len(chosen)
    points, gained = (sum(coefficients[kind][key] * value for key, (value, _) in numbers.items()) for kind in ("effect", "gain"))
    share = points / gained
    # Delta method for points / gained, every printed number independent of the others.
    slopes = {key: (coefficients["effect"][key] - share * coefficients["gain"][key]) / gained for key in numbers}
    error = math.sqrt(sum((slopes[key] * (spread or 0.0)) ** 2 for key, (_, spread) in numbers.items()) / SAMPLES)
    return ReportedEffect(points, share, error, main.name)


def _values(table: Table, name: str, main: Table) -> tuple[str, list[tuple[float, float | None]]] | None:
    """The paper's numbers of a row, with the name it has there: of the table's own, else of the row of equal options in the setup's main table."""
    reported, row = _reported(), table.row(name)
    if (own := reported.accuracies(table, row)) is not None:
        return f"{table.reported}/{row.reported}", own
    twin = next((other for other in main.rows if _same(other, row)), None)
    found = None if twin is None else reported.accuracies(main, twin)
    return None if twin is None or found is None else (f"{main.reported}/{twin.reported}", found)


def _same(a: Row, b: Row) -> bool:
    return (a.options, a.setup, a.updates, a.recompute_every) == (b.options, b.setup, b.updates, b.recompute_every)


@cache
def _reported() -> Reported:
    return Reported()
