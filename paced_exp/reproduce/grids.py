"""All tables: importing this declares those of both protocols."""

from paced_exp.reproduce import first_grids, second_grids
from paced_exp.reproduce.declared import BY_NAME, TABLES, Row, Table, declare, table_named, tables_of

__all__ = ["BY_NAME", "TABLES", "Row", "Table", "declare", "first_grids", "second_grids", "table_named", "tables_of"]
