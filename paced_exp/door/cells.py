"""The cells of tables that are given as objects: which are empty, which name a problem, and which are numbers. Needs only numpy."""

from collections.abc import Callable, Iterable, Sequence
from numbers import Number
from typing import Any

import numpy as np

from paced_exp.core.errors import UserError


def is_missing(value: object) -> bool:
    """Whether a cell is empty: None, NaN, or the NA and NaT of pandas."""
    if isinstance(value, Number):
        return bool(value != value)  # only NaN is not equal to itself
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def ids_in(values: Iterable[object], argument: str) -> list[str]:
    """The problem_id of each row as text. Raises `UserError` for an empty one, which `str` would make a problem called 'nan' or 'None'."""
    listed = list(values)
    for row, value in enumerate(listed):
        refuse_missing_id(value, "problem_id", argument, row)
    return [str(value) for value in listed]


def refuse_missing_id(value: object, column: str, argument: str, row: int) -> None:
    """Raise `UserError` if `value`, the id of this row in `column` of `argument`, is empty."""
    if is_missing(value):
        raise UserError(
            f"`{argument}` has the {column} {value!r} in row {row}, counted from 0; it must be text or a whole number; name the problem, or "
            "leave the row out"
        )


def numbers_in(values: Sequence[Any], what: str, where: Callable[[int], str], allowed: str) -> np.ndarray:
    """`values` as an array of numbers, (n,). what: the argument in words. where: the name of a row by its number. allowed: which numbers.

    Raises `UserError` for an empty cell and whatever else is no number that numpy can hold, text that reads like one included.
    """
    for row, value in enumerate(values):
        if is_missing(value) or not _is_number(value):
            raise UserError(f"{what} {value!r:.80} of {where(row)} must be {allowed}; mend the row")
    found = np.array(values)
    return found if found.dtype.kind in "biuf" else found.astype(float)  # such as 2**64 - 1 beside -1


def _is_number(value: Any) -> bool:
    if type(value) in (int, float):  # the common case, without an array
        return isinstance(value, float) or abs(value) < 2**63
    try:
        one = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        return False
    return one.ndim == 0 and one.dtype.kind in "biuf"
