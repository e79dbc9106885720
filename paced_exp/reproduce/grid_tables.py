"""Tables as sheets of cells, from records: what Markdown, LaTeX and the page are printed from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median

from paced_exp.reproduce.cells import planned_seeds
from paced_exp.reproduce.grids import Table
from paced_exp.reproduce.measures import Measured, accuracies, combined, common_seeds, forgettings, lengths, measure_row, primaries
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.scales import BENCHMARKS, Scale
from paced_exp.reproduce.significance import mean_and_error

NOT_RUN = "not run"
NONE = "–"
ONE_SEED = "one seed"  # of a difference, whose interval needs two


@dataclass(frozen=True)
class Value:
    """A cell of a sheet. number: what it is sorted by. bold: best within noise. records: files it comes from. command: that makes them."""

    text: str
    number: float | None = None
    bold: bool = False
    records: tuple[Path, ...] = ()
    command: str = ""


@dataclass(frozen=True)
class Sheet:
    """A printed table: its name (of files and anchors), title, head, rows, and notes under it."""

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = field(default=())

    def is_text(self, column: int) -> bool:
        """Whether a column holds words rather than numbers."""
        cells = [row[column] for row in self.rows]
        return column == 0 or any(cell.number is None and cell.text not in (NOT_RUN, NONE, ONE_SEED) for cell in cells)


@dataclass(frozen=True)
class _Column:
    """A column of measurements. values: of a row, a seed each. sources: what differences are taken over. best: +1 for high, -1 for low."""

    head: str
    values: Callable[[Measured], list[float] | None]
    sources: tuple[str, ...]
    best: int
    length: bool = False
    of_base: bool = False  # whether the untrained student's record is needed too
    digits: int = 1


def sheets_of(results: Results, scale: Scale, table: Table, reported: Reported) -> list[Sheet]:
    """The sheets of a table: values, and differences to the baseline."""
    rows = _same_seeds([measure_row(results, scale, table, row) for row in table.rows], planned_seeds(scale, table))
    columns = _columns(scale, table)
    return [_values_sheet(scale, table, rows, columns, reported), _differences_sheet(scale, table, rows, columns)]


def _same_seeds(rows: Sequence[Measured], planned: int) -> list[Measured]:
    """The rows over equal seeds: those planned, or more where all rows have more. Rows that other tables share may have more than the rest."""
    trained = [measured for measured in rows if measured.records and not measured.untrained]
    count = max([planned, *([min(max(measured.seeds) + 1 for measured in trained)] if trained else [])])
    return [measured if measured.untrained else measured.first(count) for measured in rows]


def tier_names(scale: Scale) -> tuple[str, ...]:
    """Short names of the tiers."""
    return tuple(tier.removeprefix("lab:").removeprefix("hub:").split("/")[-1] for tier in scale.tiers)


def _columns(scale: Scale, table: Table) -> list[_Column]:
    if table.columns == "forgetting":
        return [
            _Column("retention, %", lambda m: accuracies(m, scale.retention), (scale.retention,), 1),
            _Column("forgetting, points", lambda m: forgettings(m, scale), (scale.retention,), -1, of_base=True),
        ]
    names = tier_names(scale)
    columns = [_Column(f"{name}, %", partial(accuracies, source=tier), (tier,), 1) for name, tier in zip(names, scale.tiers, strict=True)]
    columns.append(_Column("mean of tiers, %", lambda m: primaries(m, scale), scale.tiers, 1))
    if table.columns == "length":
        columns += [
            _Column(f"{name}, tokens", partial(lengths, source=tier), (tier,), -1, length=True)
            for name, tier in zip(names, scale.tiers, strict=True)
        ]
    elif table.reported in ("stage_order", "stage_ratio_KL_to_RevKL"):
        columns.append(_Column("forgetting, points", lambda m: forgettings(m, scale), (scale.retention,), -1, of_base=True))
    return columns


def _values_sheet(scale: Scale, table: Table, rows: Sequence[Measured], columns: Sequence[_Column], reported: Reported) -> Sheet:
    paper_heads, paper_values = _paper_columns(table, reported)
    head = ("method", *(column.head for column in columns), "TFLOPs", "seconds", "seeds", *paper_heads)
    best = [_best_within_noise(rows, column) for column in columns]
    printed = []
    for index, measured in enumerate(rows):
        records = tuple(measured.records[seed].path for seed in measured.seeds)
        command = f"python -m paced_exp.reproduce --scale {scale.name} --table {table.name}"
        cells = [Value(measured.row.label)]
        for column, bold in zip(columns, best, strict=True):
            values = column.values(measured) if measured.records else None
            base = (measured.base.path,) if column.of_base and measured.base is not None else ()
            cells.append(_mean_value(values, column.digits, index in bold, (*records, *base), command))
        cells += _costs(measured, records, command)
        cells.append(Value(NONE) if measured.untrained else Value(str(len(measured.seeds)), float(len(measured.seeds))))
        printed.append((*cells, *paper_values[index]))
    notes = [
        f"{scale.name} scale. Mean ± standard error over seeds; bold: the best, and all that a 95 % interval does not tell from it. TFLOPs: of "
        "training, on-policy rollouts, pass rates, and the teacher's statistics (anew whenever pass rates are taken again); neither sampling the "
        "references nor the evaluation. Seconds: median wall time of training, without the shared work, on a machine that other work shared."
    ]
    if table.columns == "forgetting":
        notes.append("Right: the drop on MMLU that the paper reports.")
    elif paper_heads:
        notes.append(f"Right: the values that the paper reports (± its standard deviation); the tiers stand for {', '.join(BENCHMARKS)}.")
    return Sheet(f"{scale.name}-{table.name}", f"Table {table.number}. {table.title}", head, tuple(printed), tuple(notes))


def _differences_sheet(scale: Scale, table: Table, rows: Sequence[Measured], columns: Sequence[_Column]) -> Sheet:
    """Paired differences; forgetting is the negative of retention and not repeated."""
    baseline = next(measured for measured in rows if measured.row.name == table.baseline)
    shown = [column for column in columns if column.head != "forgetting, points"]
    printed = []
    for measured in rows:
        if measured is baseline:
            continue
        cells = [Value(measured.row.label)]
        for column in shown:
            found = combined([(1.0, measured), (-1.0, baseline)], column.sources, length=column.length)
            records = tuple(m.of(seed).path for seed in common_seeds([measured, baseline]) for m in (measured, baseline)) if found else ()
            if found is None:
                text = ONE_SEED if measured.records and baseline.records else NOT_RUN
                cells.append(Value(text))
            else:
                text = f"{signed(found.value, 1)} [{signed(found.low, 1)}, {signed(found.high, 1)}]"
                cells.append(Value(text, found.value, found.low > 0 or found.high < 0, records, cell_command(scale, table)))
        printed.append(tuple(cells))
    head = ("method", *(column.head.replace(", %", ", points") for column in shown))
    notes = (
        f"Differences to “{baseline.row.label}”, paired by seed and problem, with 95 % intervals over both; bold: the interval excludes zero. "
        "Not adjusted for multiple comparisons; the claims are.",
    )
    return Sheet(f"{scale.name}-{table.name}-differences", f"Table {table.number}, differences", head, tuple(printed), notes)


def cell_command(scale: Scale, table: Table) -> str:
    """The command that makes a table's records."""
    return f"python -m paced_exp.reproduce --scale {scale.name} --table {table.name}"


def _paper_columns(table: Table, reported: Reported) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
    if table.columns == "forgetting":
        return ("paper: MMLU drop, points",), [
            (Value(NONE) if (drop := reported.forgetting(table, row)) is None else Value(f"{drop:.1f}", drop),) for row in table.rows
        ]
    if table.reported is None:
        return (), [() for _ in table.rows]
    heads = [f"paper: {name}, %" for name in BENCHMARKS]
    with_drop = any(reported.forgetting(table, row) is not None for row in table.rows)
    printed: list[tuple[Value, ...]] = []
    for row in table.rows:
        found = reported.accuracies(table, row)
        cells = (
            [Value(NONE)] * 3
            if found is None
            else [Value(f"{value:.1f}" + (f" ± {spread:.1f}" if spread is not None else ""), value) for value, spread in found]
        )
        if with_drop:
            drop = reported.forgetting(table, row)
            cells = [*cells, Value(NONE) if drop is None else Value(f"{drop:.1f}", drop)]
        printed.append(tuple(cells))
    return (*heads, *(("paper: MMLU drop, points",) if with_drop else ())), printed


def _mean_value(values: list[float] | None, digits: int, bold: bool, records: tuple[Path, ...], command: str) -> Value:
    if not values:
        return Value(NOT_RUN, command=command)
    mean, error = mean_and_error(values)
    text = fixed(mean, digits) + (f" ± {error:.{digits + 1}f}" if error is not None else "")
    return Value(text, mean, bold, records, command)


def _costs(measured: Measured, records: tuple[Path, ...], command: str) -> list[Value]:
    """TFLOPs, the mean over seeds, and seconds of training, the median: a machine that other work shares slows some runs down."""
    if not measured.records:
        return [Value(NOT_RUN, command=command)] * 2
    if measured.untrained:
        return [Value(NONE)] * 2
    found = [measured.of(seed) for seed in measured.seeds]
    flops, seconds = mean_and_error([record.flops / 1e12 for record in found])[0], median(record.training_seconds for record in found)
    return [Value(f"{flops:.3g}", flops, False, records, command), Value(f"{seconds:.0f}", seconds, False, records, command)]


def _best_within_noise(rows: Sequence[Measured], column: _Column) -> set[int]:
    """Indices of the best row and of those whose paired 95 % interval to it holds zero; none where there are not two seeds to tell."""
    there = {index: measured for index, measured in enumerate(rows) if measured.records and column.values(measured)}
    # While rows are still being run, the best is chosen over the seeds that all of them have.
    common = common_seeds(list(there.values()))
    means = {
        index: column.best * mean_and_error(values)[0]
        for index, measured in there.items()
        if (values := column.values(measured if measured.untrained else replace(measured, records={s: measured.of(s) for s in common})))
    }
    if len(means) < 2:
        return set()
    top = max(means, key=lambda index: means[index])
    within = set()
    for index in means:
        if index == top:
            continue
        found = combined([(1.0, rows[top]), (-1.0, rows[index])], column.sources, length=column.length)
        if found is None:
            return set()
        if found.low <= 0 <= found.high:
            within.add(index)
    return within | {top}


def fixed(value: float, digits: int) -> str:
    """A number with so many decimals, never "-0.0"."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def signed(value: float, digits: int) -> str:
    """The same with its sign."""
    text = fixed(value, digits)
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"
