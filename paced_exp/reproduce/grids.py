"""All tables: importing this declares those of both protocols."""

from paced_exp.reproduce import concise_grid, exploratory_grids, first_grids, neighbour_grid, second_grids
from paced_exp.reproduce.declared import BY_NAME, TABLES, Row, Table, declare, table_named, tables_at, tables_of

# By protocol and setup: the table where its uniform, its PACED and its untrained student stand.
_MAIN = {
    1: {"distillation": "distillation", "self-distillation": "self-distillation", "llama": "llama"},
    2: {"distillation": "one-pass", "self-distillation": "self-one-pass", "llama": "llama-one-pass"},
}


def main_table(protocol: int, setup: str) -> Table:
    """The table of a protocol that compares the methods on a setup; `KeyError` where there is none."""
    return BY_NAME[_MAIN[protocol][setup]]


__all__ = [
    "BY_NAME",
    "TABLES",
    "Row",
    "Table",
    "concise_grid",
    "declare",
    "exploratory_grids",
    "first_grids",
    "main_table",
    "neighbour_grid",
    "second_grids",
    "table_named",
    "tables_at",
    "tables_of",
]
