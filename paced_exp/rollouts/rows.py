"""The columns of stored rows, for rollouts and references: their types, and the check of each row that is written or read."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

_TYPES = {
    "problem_id": pa.string(),
    "sample": pa.int64(),
    "seed": pa.int64(),
    "token_ids": pa.list_(pa.int64()),
    "finished": pa.bool_(),
    "response": pa.string(),
    "correct": pa.bool_(),
    "origin": pa.string(),
    "candidates": pa.int64(),
}
_REFERENCE = "origin"  # only references have this column; in their rows `correct` is the number of correct candidates
_LARGEST_TOKEN = 2**31


@cache
def schema_of(columns: tuple[str, ...]) -> pa.Schema:
    """The Arrow schema of rows with these columns, in this order. Raises `ValueError` for an unknown column."""
    if unknown := [name for name in columns if name not in _TYPES]:
        raise ValueError(f"column {unknown[0]!r} is not known; known: {', '.join(_TYPES)}")
    types = _TYPES | ({"correct": pa.int64()} if _REFERENCE in columns else {})
    return pa.schema([(name, types[name]) for name in columns])


def check_row(row: Any, columns: Sequence[str]) -> None:
    """Raise `ValueError` unless `row` has exactly `columns`, each with a value of its type and range. The message says what is wrong."""
    if not isinstance(row, dict) or not isinstance(row.get("problem_id"), str):
        raise ValueError("a row is not an object with a problem_id")
    name = row["problem_id"]
    if row.keys() != set(columns):
        missing, more = sorted(set(columns) - row.keys()), sorted(row.keys() - set(columns))
        raise ValueError(
            f"a row of problem {name!r} {f'lacks column {missing[0]!r}' if missing else f'has an unexpected column {more[0]!r}'}"
        )
    for column in columns:
        if wrong := _wrong(column, row[column], _REFERENCE in columns):
            raise ValueError(f"{column} of problem {name!r} {wrong}")


def _wrong(column: str, value: Any, reference: bool) -> str:
    kind = _TYPES[column]
    if column == "token_ids":
        # Sets, min and max are faster than a check of each element: a store at the paper's scale has a billion tokens.
        if type(value) is not list or not set(map(type, value)) <= {int}:
            return "must be a list of whole numbers"
        return "" if not value or (min(value) >= 0 and max(value) < _LARGEST_TOKEN) else f"has an id outside 0 to {_LARGEST_TOKEN - 1}"
    if kind == pa.string():
        if type(value) is not str:
            return f"is {value!r:.40}, not text"
        value.encode()  # a lone surrogate raises UnicodeEncodeError, which is a ValueError
        return ""
    if kind == pa.bool_() and not (reference and column == "correct"):
        return "" if type(value) is bool else f"is {value!r:.40}, neither true nor false"
    return "" if type(value) is int and 0 <= value < 2**63 else f"is {value!r:.40}, not a whole number of at least 0"


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """`row` with numpy scalars and arrays converted to Python numbers and lists."""
    return {name: value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value for name, value in row.items()}


def outside(token_ids: Sequence[int], vocabulary: int) -> int | None:
    """The first id that a model with `vocabulary` embeddings cannot read; None if it can read all."""
    return next((int(token) for token in token_ids if not 0 <= token < vocabulary), None)
