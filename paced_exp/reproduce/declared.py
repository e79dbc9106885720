"""What a table is: one declaration, the same at every scale.

A row is a set of `DistillConfig` options on a setup of the scale. Rows of different tables with equal options are the same cell. What is
run, printed, listed and (where it is a `main` table) asked of the paper follows from the declaration alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from paced_exp.core.errors import UserError
from paced_exp.data.prompts import PromptKind
from paced_exp.reproduce.columns import ColumnGroup, mean_of_tiers, tiers
from paced_exp.reproduce.scale import Scale, Side


@dataclass(frozen=True)
class Row:
    """A row of a table.

    name: unique in its table; names the record. setup: of the scale. options: of `DistillConfig`; None is the untrained student. updates:
    factor on the setup's. recompute_every: pass rates again after this share of the updates. reported: the row's name in the paper's table.
    pool: share of the scale's problems, the first ones. curve: name of the measured kernel that it weighs by, among the scale's. command: what
    trains: distill, or teacher (policy gradient; options are then of `TeacherConfig`). chosen: the pool chosen by pass rate that it trains on, in
    place of the scale's problems. against: the row of its table that its differences are taken to, where not the table's baseline. prompt: that an
    untrained student is asked with.
    """

    name: str
    label: str
    options: Mapping[str, Any] | None = field(default_factory=dict)
    setup: str = "distillation"
    updates: float = 1.0
    recompute_every: float | None = None
    reported: str | None = None
    curve: str | None = None
    pool: float = 1.0
    command: Literal["distill", "teacher"] = "distill"
    chosen: Side | None = None
    against: str | None = None
    prompt: PromptKind = "plain"


@dataclass(frozen=True)
class Table:
    """A table.

    rows: without any, it is generated from the configurations and has no records. baseline: the row that differences are taken to.
    columns: the groups that it shows, in order. reported: the table of paper/reported.json whose values stand beside ours. main: one of
    tables 1 to 5, or another that a claim rests on; main tables get more seeds. protocol: that of the scales which run it. many_samples: evaluated
    with the scale's `many_samples`, for pass@k, in place of its `evaluation`. seeds: of its rows; None for the scale's number. scales: names of
    those that run it, where not all of the protocol do. exploratory: no claim rests on it, and the paper may leave it out.
    """

    number: int
    name: str
    title: str
    rows: tuple[Row, ...]
    baseline: str | None
    columns: tuple[ColumnGroup, ...] = (tiers, mean_of_tiers)
    reported: str | None = None
    main: bool = False
    protocol: int = 2
    many_samples: bool = False
    seeds: int | None = None
    scales: tuple[str, ...] = ()
    exploratory: bool = False

    def row(self, name: str) -> Row:
        """The row of that name; `KeyError` for an unknown one."""
        return {row.name: row for row in self.rows}[name]


BY_NAME: dict[str, Table] = {}
TABLES = BY_NAME.values()  # a view: it holds what is declared later, too


def tables_of(protocol: int) -> list[Table]:
    """The tables of a protocol, by number: a cell's home is the first that holds it, wherever tables are declared."""
    return sorted((table for table in TABLES if table.protocol == protocol), key=lambda table: table.number)


def tables_at(scale: Scale) -> list[Table]:
    """The tables that a scale runs, by number, each with the rows that it runs there."""
    found = []
    for table in tables_of(scale.protocol):
        if table.scales and scale.name not in table.scales:
            continue
        if scale.rows is not None and table.rows:
            names = scale.rows.get(table.name, ())
            table = replace(table, rows=tuple(row for row in table.rows if row.name in names))
            if not table.rows:
                continue
        found.append(table)
    return found


def declare(table: Table) -> Table:
    """Add a table to those that are run, printed and listed. Raises `ValueError` for a number or a name that another table has."""
    if any(table.number == other.number or table.name == other.name for other in TABLES):
        raise ValueError(f"table {table.number} {table.name}: another table has its number or its name; give it one of its own")
    names = [row.name for row in table.rows]
    asked = [("baseline", table.baseline), *((f"against of {row.name}", row.against) for row in table.rows if row.against is not None)]
    if unknown := [(what, name) for what, name in asked if names and name not in names]:
        raise ValueError(f"table {table.name}: `{unknown[0][0]}` {unknown[0][1]} is none of its rows: {', '.join(names)}")
    BY_NAME[table.name] = table
    return table


def table_named(name: str) -> Table:
    """A table by name or number. Raises `UserError` listing the known ones."""
    found = BY_NAME.get(name) or next((table for table in TABLES if str(table.number) == name), None)
    if found is None:
        known = [f"{table.number} {table.name}" for table in sorted(TABLES, key=lambda table: table.number)]
        raise UserError(f"`table` {name} is not known; known: {', '.join(known)}, figure2")
    return found
