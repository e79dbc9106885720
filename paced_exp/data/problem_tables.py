"""Small tables with a row for each problem: counts (k passes of K rollouts) and weights, as .jsonl, .csv or .parquet.

.jsonl and .csv only need numpy, so that weights can be made where nothing else is installed; parquet needs pyarrow. Rows are matched by
problem_id, never by their position.
"""

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.core.atomic import atomic_file
from paced_exp.core.errors import UserError

SUFFIXES = (".jsonl", ".csv", ".parquet")
LARGEST_COUNT = 2**31 - 1  # of rollouts of a problem
CHECKSUM_KEY = "paced_checksum"  # over all values of a parquet file, whose own checksums cover pages, but not the number of rows
STOPPING_KEY = "paced_stopping"  # in a parquet file's metadata: rollouts were stopped early, by this rule
COUNTS = ("problem_id", "k", "K")
WEIGHTS = ("problem_id", "weight")
Row = dict[str, Any]


@dataclass(frozen=True)
class Counts:
    """k passes of K rollouts: problem_id (n,) distinct text; k and K (n,) whole numbers with 0 <= k <= K and K >= 1.

    Raises `UserError`, naming the problem, for anything else.
    """

    problem_id: list[str]
    k: np.ndarray
    K: np.ndarray

    def __post_init__(self) -> None:
        check_ids(self.problem_id)
        k, K = (_numbers(values, name, least, self.problem_id) for values, name, least in ((self.k, "k", 0), (self.K, "K", 1)))
        checks: list[tuple[np.ndarray, str, np.ndarray, str]] = [
            (~np.isfinite(K) | (K < 1) | (np.floor(K) != K), "K", K, "must be a whole number of at least 1"),
            (~np.isfinite(k) | (k < 0) | (k != np.floor(k)), "k", k, "must be a whole number of at least 0"),
            (k > K, "k", k, "exceeds its K"),
            (K > LARGEST_COUNT, "K", K, f"must be at most {LARGEST_COUNT}"),
        ]
        for wrong, name, values, allowed in checks:
            if wrong.any():
                place = int(np.argmax(wrong))
                raise UserError(
                    f"{name} = {values[place]} of problem {self.problem_id[place]!r} {allowed}; mend the row or make the file again"
                )
        object.__setattr__(self, "k", k.astype(np.int64))
        object.__setattr__(self, "K", K.astype(np.int64))


def _numbers(values: Any, name: str, least: int, problem_id: Sequence[str]) -> np.ndarray:
    """`values` as an array of numbers (n,), whatever the user's table holds. Raises `UserError`, naming the first that is none."""
    column = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    if not (column or getattr(values, "ndim", 0) == 1) or len(values) != len(problem_id):  # an array and a column of a frame have ndim
        raise UserError(
            f"{name} = {values!r:.80} must be {len(problem_id)} numbers, one for each problem_id; give the columns of one table"
        )
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return values
    numbers: list[Any] = list(values)
    for place, value in enumerate(numbers):
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
            allowed = f"must be a whole number of at least {least}"
            raise UserError(f"{name} = {value!r:.80} of problem {problem_id[place]!r} {allowed}; mend the row or make the file again")
        if value > LARGEST_COUNT or value < -LARGEST_COUNT:  # which an integer of Python may be, and an array of numbers may not
            raise UserError(f"{name} = {value!s:.80} of problem {problem_id[place]!r} must be at most {LARGEST_COUNT}; mend the row")
    return np.array(numbers)


def check_ids(problem_id: Sequence[object]) -> None:
    """Raise `UserError` if a problem_id is not text or occurs twice."""
    seen = set()
    for value in problem_id:
        if not isinstance(value, str):
            raise UserError(f"problem_id = {value!r:.80} must be text; mend the row or make the file again")
        if value in seen:
            raise UserError(f"problem_id = {value} of problem {value!r} occurs more than once; mend the row or make the file again")
        seen.add(value)


def read_counts(path: str | Path) -> Counts:
    """The counts in a .jsonl, .csv or .parquet file with `problem_id`, `k` and `K`, such as a run's pass_rates.parquet. Other columns are ignored.

    Raises `UserError`, naming the file and the line or problem, if it is missing or damaged, or has impossible counts.
    """
    path = Path(path)
    rows = _read(path, COUNTS, _count)
    if not rows:
        raise UserError(f"{path} has no pass rates in it; give problem_id, k and K a line")
    with of_file(path):
        return Counts([row["problem_id"] for row in rows], *(np.array([row[name] for row in rows]) for name in ("k", "K")))


def read_weights(path: str | Path) -> dict[str, float]:
    """The weight of each problem_id in a .jsonl, .csv or .parquet file with `problem_id` and `weight`, such as `paced weights` writes.

    Raises `UserError`, naming the file and the line or problem, if it is missing or damaged, or has weights that are negative or not finite.
    """
    path = Path(path)
    rows = _read(path, WEIGHTS, _weight)
    if not rows:
        raise UserError(f"{path} has no weights in it; make it with: paced weights COUNTS --out {path}")
    with of_file(path):
        check_ids([row["problem_id"] for row in rows])
        for row in rows:
            if not 0 <= row["weight"] < math.inf:
                raise UserError(
                    f"weight = {row['weight']} of problem {row['problem_id']!r} must be a finite number of at least 0; mend the row"
                )
    return {row["problem_id"]: row["weight"] for row in rows}


def stopped_early(path: str | Path) -> bool:
    """Whether a file of counts or rollouts says that its rollouts were stopped early. Only parquet files can; one that is unreadable does not."""
    if Path(path).suffix != ".parquet":
        return False
    try:
        from pyarrow import parquet

        return STOPPING_KEY.encode() in (parquet.read_schema(path).metadata or {})
    except Exception:  # missing or damaged: who reads the file says so
        return False


def write_rows(path: str | Path, columns: dict[str, Sequence[Any]]) -> None:
    """Write `columns` (name -> values, all of one length) atomically as .jsonl, .csv or .parquet, according to the suffix of `path`.

    Raises `UserError` for another suffix, and if the file cannot be written.
    """
    path = Path(path)
    _check_suffix(path)
    values = {name: column.tolist() if isinstance(column, np.ndarray) else list(column) for name, column in columns.items()}
    if path.suffix == ".parquet":
        pa, parquet = _pyarrow(path)
        parquet.write_table(path, pa.table(values), None)
        return
    text = io.StringIO(newline="")
    rows = zip(*values.values(), strict=True)
    if path.suffix == ".csv":
        writer = csv.writer(text)  # with CRLF, as in RFC 4180, so that a carriage return in a value is quoted
        writer.writerow(values)
        writer.writerows(rows)
    else:
        text.writelines(json.dumps(dict(zip(values, row, strict=True)), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    try:
        with atomic_file(path) as file:
            file.write(text.getvalue().encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); free some space or name another file") from error


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, through links too. Commands refuse to write over what they read."""
    both = os.path.exists(one) and os.path.exists(other)  # unlike Path.exists it is False, not an error, for a name that is too long
    return os.path.samefile(one, other) if both else os.path.realpath(one) == os.path.realpath(other)


def table_checksum(table: Any) -> str:
    """SHA-256 over all values of a pyarrow table."""
    return "sha256:" + hashlib.sha256(json.dumps(table.to_pydict()).encode()).hexdigest()


# ---- reading


@contextmanager
def of_file(path: Path) -> Iterator[None]:
    """Put the file's name at the start of errors from this block."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} must end in {', '.join(SUFFIXES)}, by which its format is told")


def _read(path: Path, names: tuple[str, ...], convert: Callable[[Row, str], Row]) -> list[Row]:
    _check_suffix(path)
    if path.suffix == ".parquet":
        return _parquet_rows(path, names)
    return [convert(row, where) for where, row in text_rows(path, names)]


def text_rows(path: Path, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> Iterator[tuple[str, Row]]:
    """(where, row) of each row of a .jsonl or .csv, with the columns `names`, and None for each of the `optional` that it lacks.

    Raises `UserError` for a row without one of `names`.
    """
    return (_jsonl_rows if path.suffix == ".jsonl" else _csv_rows)(path, names, optional)


def _text(path: Path, names: tuple[str, ...]) -> str:
    try:
        # utf-8-sig drops a byte order mark, which some editors write. No newline is translated: a quoted csv value may hold one.
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); give a file with {_listed(names)} a line") from error


def _jsonl_rows(path: Path, names: tuple[str, ...], optional: tuple[str, ...]) -> Iterator[tuple[str, Row]]:
    wanted = "{" + ", ".join(f'"{name}": ...' for name in names) + "}"
    for number, text in enumerate(_text(path, names).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            yield f"{path} line {number}", {name: row[name] for name in names} | {name: row.get(name) for name in optional}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(f"{path} line {number}: expected {wanted}, not {text[:80]!r}") from error


def _csv_rows(path: Path, names: tuple[str, ...], optional: tuple[str, ...]) -> Iterator[tuple[str, Row]]:
    reader = csv.DictReader(io.StringIO(_text(path, names), newline=""))
    try:
        for name in names:
            if reader.fieldnames is None or name not in reader.fieldnames:
                raise UserError(f"{path} has no column {name!r}; its first line must name {_listed(names)}")
        for name in (*names, *optional):
            if list(reader.fieldnames or ()).count(name) > 1:
                raise UserError(f"{path} line {reader.line_num} names the column {name!r} more than once; keep one of them")
        for row in reader:
            where = f"{path} line {reader.line_num}"
            if any(row[name] is None for name in names):
                raise UserError(f"{where} has fewer values than the first line has names; mend the row")
            if None in row:  # where csv puts the values that no name is left for
                raise UserError(
                    f"{where} has more values than the first line has names; put a value that holds a comma into double quotes, or mend the row"
                )
            found = {name: row[name] if name == "problem_id" else _number(row[name]) for name in names}
            yield where, found | {name: row.get(name) for name in optional}
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num} is no readable csv ({error}); mend the row") from error


def _number(text: str) -> Any:
    """A csv value as a number, if it is one. Other text stays as it is, and is refused later with its name."""
    if re.fullmatch(r"\s*[+-]?\d{1,30}\s*", text, re.ASCII):
        return int(text)
    return float(text) if re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", text, re.ASCII) else text


def _parquet_rows(path: Path, names: tuple[str, ...]) -> list[Row]:
    pa, parquet = _pyarrow(path)
    table = parquet.read_table(path)
    for name in names:
        if name not in table.column_names:
            raise UserError(f"{path} has no column {name!r}; it must have {_listed(names)}")
        kind = table.schema.field(name).type
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not (text if name == "problem_id" else pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise UserError(
                f"{path}: column {name!r} holds {kind}, not {'text' if name == 'problem_id' else 'numbers'}; make the file again"
            )
    stored = (table.schema.metadata or {}).get(CHECKSUM_KEY.encode())
    if stored is not None and stored != table_checksum(table).encode():
        raise UserError(f"{path} is damaged (its checksum is wrong); make it again")
    rows: list[Row] = table.select(names).to_pylist()
    return [{name: math.nan if value is None and name != "problem_id" else value for name, value in row.items()} for row in rows]


def _pyarrow(path: Path) -> tuple[Any, Any]:
    """Import pyarrow and this package's parquet functions only for a parquet file, since .jsonl and .csv must not need them."""
    try:
        import pyarrow

        from paced_exp.core import parquet
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: parquet needs pyarrow (pip install pyarrow); .jsonl and .csv need nothing more") from error
    return pyarrow, parquet


def _id(row: Row, where: str) -> str:
    if type(row["problem_id"]) not in (str, int):
        raise UserError(f"{where}: problem_id must be text or a whole number, not {row['problem_id']!r:.80}")
    return str(row["problem_id"])


def _count(row: Row, where: str) -> Row:
    k, K = row["k"], row["K"]
    name = _id(row, where)
    if not (type(k) is int and type(K) is int):
        raise UserError(f"{where}: k and K must be whole numbers, not {k!r:.80} and {K!r:.80}")
    if not (abs(k) <= LARGEST_COUNT and abs(K) <= LARGEST_COUNT):
        raise UserError(f"{where}: k and K must be at most {LARGEST_COUNT}")
    return {"problem_id": name, "k": k, "K": K}


def _weight(row: Row, where: str) -> Row:
    if type(row["weight"]) not in (int, float) or abs(row["weight"]) > 1e300:
        raise UserError(f"{where}: weight must be a finite number, not {row['weight']!r:.80}")
    return {"problem_id": _id(row, where), "weight": float(row["weight"])}


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
