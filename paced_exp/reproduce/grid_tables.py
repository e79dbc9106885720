"""The two printed tables of a grid's table: what each row measured beside the paper's values, and the differences to the baseline."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from paced_exp.reproduce.cells import planned_seeds
from paced_exp.reproduce.columns import Column
from paced_exp.reproduce.grids import Row, Table
from paced_exp.reproduce.measures import Measured, combined, common_seeds, measure_row, values_of
from paced_exp.reproduce.printed_table import NONE, NOT_RUN, ONE_SEED, PrintedTable, Value, fixed, with_interval
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.scales import BENCHMARKS, Scale
from paced_exp.reproduce.significance import Estimate, mean_and_error


def grid_tables(results: Results, scale: Scale, table: Table, reported: Reported) -> list[PrintedTable]:
    """What is printed of a table: values, and differences to its baseline."""
    rows = _with_equal_seeds([measure_row(results, scale, table, row) for row in table.rows], scale, planned_seeds(scale, table))
    columns = [column for group in table.columns for column in group(scale)]
    return [_values(scale, table, rows, columns, reported), _differences(scale, table, rows, columns)]


def table_command(scale: Scale, table: Table) -> str:
    """The command that makes a table's records."""
    return f"python -m paced_exp.reproduce --scale {scale.name} --table {table.name}"


def _with_equal_seeds(rows: Sequence[Measured], scale: Scale, planned: int) -> list[Measured]:
    """The rows over equal seeds: those planned, or more where all rows have more.

    A row that another table shares may have been run with more seeds than the rest of this table.
    """
    trained = [measured for measured in rows if measured.records and not measured.untrained]
    count = max([planned, *([min(max(measured.seeds) + 1 - scale.first_seed for measured in trained)] if trained else [])])
    return [measured.among(scale.seed_range(count)) for measured in rows]


def _values(scale: Scale, table: Table, rows: Sequence[Measured], columns: Sequence[Column], reported: Reported) -> PrintedTable:
    # Rows trained by different commands are given different things: the best of each is marked, and the untrained student competes with all.
    commands = sorted({row.command for row in table.rows if row.options is not None})
    halves = [[index for index, one in enumerate(rows) if one.untrained or one.row.command == command] for command in commands]
    best = [set().union(*(_best_within_noise(rows, half, column) for half in halves)) for column in columns]
    papers = reported.columns(table)
    command = table_command(scale, table)
    mixed = len(commands) > 1  # else the title says the regime
    printed = []
    for index, measured in enumerate(rows):
        records = tuple(measured.records[seed].path for seed in measured.seeds)
        cells = [Value(measured.row.label), *([Value(_regime(measured.row))] if mixed else [])]
        for column, bold in zip(columns, best, strict=True):
            base = (measured.base.path,) if column.measure in ("forgetting", "unsolved") and measured.base is not None else ()
            values = values_of(measured, column) if measured.records else None
            cells.append(_mean(values, index in bold, (*records, *base), command))
        cells.append(_compute(measured, records, command))
        cells.append(Value(NONE) if measured.untrained else Value(str(len(measured.seeds)), float(len(measured.seeds))))
        printed.append((*cells, *_paper_values(reported, table, measured)))
    head = (
        "method",
        *(["regime"] if mixed else []),
        *(column.head for column in columns),
        "TFLOPs",
        "seeds",
        *(f"paper: {name}" for name in papers.values()),
    )
    notes = [
        f"{scale.name} scale. Mean ± standard error over seeds; bold: the best{', of distillations and of policy gradients,' if mixed else ','} and all "
        "that a 95 % interval does not tell from it. TFLOPs: of "
        "training, on-policy rollouts, pass rates, and the teacher's statistics (anew whenever pass rates are taken again); neither sampling the "
        "references nor the evaluation."
    ]
    if papers.keys() & set(BENCHMARKS):
        notes.append(f"Right: the values that the paper reports (± its standard deviation); the tiers stand for {', '.join(BENCHMARKS)}.")
    elif papers:
        notes.append("Right: the drop on MMLU that the paper reports.")
    return PrintedTable(f"{scale.name}-{table.name}", f"Table {table.number}. {table.title}", head, tuple(printed), tuple(notes))


def _regime(row: Row) -> str:
    """How a row visits problems, and whose responses it learns from."""
    if row.options is None:
        return NONE
    if row.command == "teacher":
        return "own rollouts"
    return f"references, {row.options['regime'].replace('-', ' ')}" if "regime" in row.options else "references"


def _differences(scale: Scale, table: Table, rows: Sequence[Measured], columns: Sequence[Column]) -> PrintedTable:
    baseline = next(measured for measured in rows if measured.row.name == table.baseline)
    shown = [column for column in columns if column.with_difference]
    printed = []
    for measured in rows:
        if measured is baseline:
            continue
        other = baseline if measured.row.against is None else next(one for one in rows if one.row.name == measured.row.against)
        records = tuple(m.of(seed).path for seed in common_seeds([measured, other]) for m in (measured, other))
        cells = [Value(measured.row.label + ("" if other is baseline else f", to {other.row.label}"))]
        for column in shown:
            found = _difference(measured, other, column)
            if found is None:
                cells.append(Value(ONE_SEED if measured.records and other.records else NOT_RUN))
            else:
                bold = found.low > 0 or found.high < 0
                cells.append(Value(with_interval(found), found.value, bold, records, table_command(scale, table)))
        printed.append(tuple(cells))
    head = ("method", *(column.head.replace(", %", ", points") for column in shown))
    elsewhere = ", or to the row that is named" if any(measured.row.against is not None for measured in rows) else ""
    notes = (
        f"Differences to “{baseline.row.label}”{elsewhere}, paired by seed and problem, with 95 % intervals over both; bold: the interval excludes zero. "
        "Not adjusted for multiple comparisons; the claims are.",
    )
    return PrintedTable(f"{scale.name}-{table.name}-differences", f"Table {table.number}, differences", head, tuple(printed), notes)


def _difference(measured: Measured, other: Measured, column: Column) -> Estimate | None:
    if column.measure == "forgetting":  # base − measured, so that the base cancels
        return combined([(-1.0, measured), (1.0, other)], column.sources)
    return combined([(1.0, measured), (-1.0, other)], column.sources, column.measure)


def _paper_values(reported: Reported, table: Table, measured: Measured) -> list[Value]:
    """The paper's values of a row, one for each of its columns."""
    found = reported.values(table, measured.row)
    if found is None:
        return [Value(NONE)] * len(reported.columns(table))
    return [Value(f"{value:.1f}" + (f" ± {spread:.1f}" if spread is not None else ""), value) for value, spread in found]


def _mean(values: list[float] | None, bold: bool, records: tuple[Path, ...], command: str) -> Value:
    if not values:
        return Value(NOT_RUN, command=command)
    mean, error = mean_and_error(values)
    text = fixed(mean, 1) + (f" ± {error:.2f}" if error is not None else "")
    return Value(text, mean, bold, records, command)


def _compute(measured: Measured, records: tuple[Path, ...], command: str) -> Value:
    """TFLOPs, the mean over seeds. Seconds are not printed: on a machine that other work shares they say nothing."""
    if not measured.records:
        return Value(NOT_RUN, command=command)
    if measured.untrained:
        return Value(NONE)
    flops = mean_and_error([measured.of(seed).flops / 1e12 for seed in measured.seeds])[0]
    return Value(f"{flops:.3g}", flops, False, records, command)


def _best_within_noise(rows: Sequence[Measured], among: Sequence[int], column: Column) -> set[int]:
    """Of the rows `among`, the best and those whose paired 95 % interval to it holds zero, as indices; none where there are not two seeds to tell."""
    there = {index: rows[index] for index in among if rows[index].records and values_of(rows[index], column)}
    # While rows are still being run, the best is chosen over the seeds that all of them have.
    common = common_seeds(list(there.values()))
    means = {
        index: column.best * mean_and_error(values)[0]
        for index, measured in there.items()
        if (values := values_of(measured if measured.untrained else replace(measured, records={s: measured.of(s) for s in common}), column))
    }
    if len(means) < 2:
        return set()
    top = max(means, key=lambda index: means[index])
    within = set()
    for index in means:
        if index == top:
            continue
        found = _difference(rows[top], rows[index], column)
        if found is None:
            return set()
        if found.low <= 0 <= found.high:
            within.add(index)
    return within | {top}
