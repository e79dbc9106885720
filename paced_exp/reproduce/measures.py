"""Measures of rows from records: accuracy by tier, forgetting, length; and sums of rows' measures, paired by seed and problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.reproduce.cells import base_of, row_cells
from paced_exp.reproduce.columns import Column, Measure, mean_of_tiers
from paced_exp.reproduce.grids import BY_NAME, Row, Table
from paced_exp.reproduce.records import Record, Results
from paced_exp.reproduce.scales import MOST_SEEDS, Scale
from paced_exp.reproduce.significance import Estimate, crossed


@dataclass(frozen=True)
class Measured:
    """The records of a row, by seed. An untrained student has one, which stands for every seed."""

    row: Row
    base: Record | None
    records: Mapping[int, Record]
    untrained: bool

    @property
    def seeds(self) -> list[int]:
        """The seeds that were run."""
        return sorted(self.records)

    def among(self, seeds: range) -> "Measured":
        """The same with these seeds alone; an untrained student, whose record stands for every seed, keeps it."""
        return self if self.untrained else replace(self, records={seed: self.records[seed] for seed in seeds if seed in self.records})

    def of(self, seed: int) -> Record:
        """The record of a seed."""
        return self.records[0 if self.untrained else seed]


# By the records' reader, and gone with it: what was asked, and its answer.
_MEASURED: "WeakKeyDictionary[Results, dict[tuple[str, str, str], tuple[Scale, Table, Row, Measured]]]" = WeakKeyDictionary()


def measure_row(results: Results, scale: Scale, table: Table, row: Row) -> Measured:
    """The records of a row and of the student it started from. Claims, tables and pages ask for the same rows, so each is kept."""
    kept = _MEASURED.setdefault(results, {})
    name = (scale.name, table.name, row.name)
    if name in kept and kept[name][:3] == (scale, table, row):
        return kept[name][3]
    cells = row_cells(scale, table, row, MOST_SEEDS)
    found = {cell.seed: record for cell in cells if (record := results.get(cell)) is not None}
    measured = Measured(row, results.get(base_of(scale, table, row)), found, row.options is None)
    kept[name] = (scale, table, row, measured)
    return measured


def accuracies(measured: Measured, source: str) -> list[float]:
    """Accuracy on a source, in per cent, a seed each."""
    return [100 * float(measured.of(seed).accuracy(source).mean()) for seed in measured.seeds]


def primaries(measured: Measured, scale: Scale) -> list[float]:
    """The primary measure, the mean accuracy of the tiers, in per cent, a seed each."""
    return values_of(measured, mean_of_tiers(scale)[0])


def forgettings(measured: Measured, source: str) -> list[float]:
    """The base's accuracy on a source less the row's, in points, a seed each; none without the base's record."""
    if measured.base is None:
        return []
    before = 100 * float(measured.base.accuracy(source).mean())
    return [before - value for value in accuracies(measured, source)]


def values_of(measured: Measured, column: Column) -> list[float]:
    """What a column shows of a row: the mean of its measure over its sources, a seed each; nothing where it cannot be measured."""
    if column.measure == "forgetting":
        by_source = [forgettings(measured, source) for source in column.sources]
        return [float(np.mean(values)) for values in zip(*by_source, strict=True)]
    found = []
    for seed in measured.seeds:
        strata = _strata(measured, seed, column.sources, column.measure)
        if strata is None:
            return []
        found.append(float(np.mean([stratum.mean() for stratum in strata])))
    return found


def common_seeds(rows: Sequence[Measured]) -> list[int]:
    """Seeds that every row has; an untrained row has all, as long as another has some."""
    trained = [set(measured.seeds) for measured in rows if not measured.untrained]
    if not trained or any(measured.untrained and not measured.records for measured in rows):
        return []
    return sorted(set.intersection(*trained))


def combined(terms: Sequence[tuple[float, Measured]], sources: Sequence[str], measure: Measure = "accuracy") -> Estimate | None:
    """The sum of coefficient x row over `terms`, as the mean over `sources`, paired by seed and problem; None below two common seeds.

    In points of accuracy, or in tokens where that is the measure. Raises `UserError` where two records answer different problems.
    """
    rows = [measured for _, measured in terms]
    seeds = common_seeds(rows)
    if len(seeds) < 2 or not are_measured(rows, sources, seeds, measure):
        return None
    return crossed(strata_of(terms, sources, seeds, measure))


def are_measured(rows: Sequence[Measured], sources: Sequence[str], seeds: Sequence[int], measure: Measure) -> bool:
    """Whether the records of all rows hold what a measure needs, such as 32 samples for pass@32."""
    return all(_strata(measured, seeds[0], sources, measure) is not None for measured in rows)


def strata_of(
    terms: Sequence[tuple[float, Measured]], sources: Sequence[str], seeds: Sequence[int], measure: Measure = "accuracy"
) -> list[np.ndarray]:
    """The sum of coefficient x row for every seed and problem, (S, P) a source, in points of accuracy, or in tokens where that is the measure.

    Raises `UserError` where two records answer different problems.
    """
    for source in sources:
        _check_same_problems([measured.of(seed) for _, measured in terms for seed in seeds], source)
    strata = []
    for place in range(1 if measure == "unsolved" else len(sources)):
        total = np.zeros(())
        for factor, measured in terms:
            total = total + factor * np.array([_present(measured, seed, sources, measure)[place] for seed in seeds])
        strata.append(total)
    return strata


def _present(measured: Measured, seed: int, sources: Sequence[str], measure: Measure) -> list[np.ndarray]:
    found = _strata(measured, seed, sources, measure)
    assert found is not None, f"{measure} cannot be measured"
    return found


def _strata(measured: Measured, seed: int, sources: Sequence[str], measure: Measure) -> list[np.ndarray] | None:
    """The measure of each problem, in points or tokens, a stratum for each source; None where it cannot be measured.

    The problems that the base never solved are one stratum, over all sources: on an easy source there may be none.
    """
    record = measured.of(seed)
    if measure == "tokens":
        return [record.tokens(source) for source in sources]
    if measure in ("pass@8", "pass@32"):
        found = [record.pass_at(source, int(measure.removeprefix("pass@"))) for source in sources]
        return None if any(values is None for values in found) else [100 * values for values in found if values is not None]
    if measure == "unsolved":
        if measured.base is None:
            return None
        base = measured.base
        for source in sources:
            _check_same_problems([record, base], source)
        never = np.concatenate([record.accuracy(source)[base.accuracy(source) == 0] for source in sources])
        return [100 * never] if never.size >= 2 else None
    return [100 * record.accuracy(source) for source in sources]


def _check_same_problems(records: Sequence[Record], source: str) -> None:
    first = records[0]
    for record in records[1:]:
        if record.problems(source) != first.problems(source):
            raise UserError(
                f"{record.path} and {first.path} answer different problems of {source}; delete the older and run its table again"
            )


def row_named(results: Results, scale: Scale, table: str, row: str) -> Measured:
    """The records of a row by the names of table and row."""
    return measure_row(results, scale, BY_NAME[table], BY_NAME[table].row(row))
