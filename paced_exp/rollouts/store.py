"""The store of finished work: an append-only journal that survives `kill -9`, and the parquet file made from it.

The journal NAME.jsonl holds one chunk a line: a JSON list of rows. A line counts once its newline is written; whatever a kill left after
the last whole line is ignored when reading and overwritten by the next append. So a problem's rows are there all together or not at all.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from paced_exp.errors import UserError
from paced_exp.parquet import cannot_write, write_table

logger = logging.getLogger(__name__)

_SYNC_SECONDS = 1.0  # a process's death loses nothing; a power cut loses at most so much, never the journal's consistency
_BLOCK = 4096  # journal lines made one Arrow table at a time


class ChunkStore:
    """Rows of finished problems under folder/NAME.jsonl.

    A row is a dict of JSON values (numpy's are converted) with a `problem_id`; all rows of a problem are appended in one chunk. Two
    processes, or two stores, that write to one journal are told apart and the later one is refused.
    """

    def __init__(self, folder: str | Path, name: str) -> None:
        self.path = Path(folder) / f"{name}.jsonl"
        self._done: set[str] = set()
        self._end = 0  # where the last whole line ends
        for rows, end in self._chunks():
            self._done.update(row["problem_id"] for row in rows)
            self._end = end
        self._size = self.path.stat().st_size if self.path.exists() else 0
        self._synced = time.monotonic()
        if self._size > self._end:
            logger.warning("%s: the last %d bytes are no finished chunk and will be done again", self.path, self._size - self._end)

    def done_ids(self) -> set[str]:
        """Ids of the problems whose rows are stored."""
        return set(self._done)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add one finished chunk: all rows of one or more problems.

        Raises `UserError` when the journal cannot be written (a full disk) or another process writes to it, in both cases leaving what
        was stored as it was; `ValueError` for a problem that is stored already.
        """
        if not rows:
            return
        ids = {row["problem_id"] for row in rows}
        if repeated := sorted(ids & self._done):
            raise ValueError(f"{self.path} holds problem {repeated[0]!r} already; append all rows of a problem in one chunk")
        line = (
            json.dumps([dict(row) for row in rows], separators=(",", ":"), allow_nan=False, ensure_ascii=False, default=_plain).encode()
            + b"\n"
        )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_size != self._size:
                    raise UserError(f"{self.path} was written to by another process; let one run at a time use its folder")
                file.truncate(self._end)
                self._write(file, line)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._end += len(line)
        self._size = self._end
        self._done |= ids

    def _write(self, file: Any, line: bytes) -> None:
        self._size = self._end
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[file.write(rest) :]
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(file.fileno())
                self._synced = time.monotonic()
        except OSError:
            file.truncate(self._end)
            raise

    def chunks(self) -> Iterator[list[dict[str, Any]]]:
        """The stored chunks one by one, as they were appended: for a journal too large to hold."""
        return (rows for rows, _ in self._chunks())

    def rows(self) -> pd.DataFrame:
        """All stored rows in the order they were appended; list columns hold numpy arrays. Empty, without columns, when nothing is."""
        return self._table().to_pandas()

    def finalise(self, *, order: Sequence[str] | None = None, metadata: Mapping[str, str] | None = None) -> Path:
        """Write NAME.parquet atomically and return its path; the journal stays.

        Rows are sorted by problem, in `order` (default: by id), then by `sample` where there is one, so that the file depends on what
        was stored and not on when. metadata: strings for the parquet schema. Raises `UserError` when nothing is stored or the file
        cannot be written, `ValueError` for a stored problem that `order` lacks.
        """
        table = self._table()
        if table.num_rows == 0:
            raise UserError(f"{self.path} holds no rows, so there is nothing to write to {self.path.with_suffix('.parquet')}")
        ids = table["problem_id"].to_pylist()
        ranks = {name: rank for rank, name in enumerate(sorted(self._done) if order is None else order)}
        if missing := sorted(self._done - ranks.keys()):
            raise ValueError(f"{self.path} holds problem {missing[0]!r}, which the order to write in lacks")
        keys = [np.array([ranks[name] for name in ids])]
        if "sample" in table.column_names:
            keys.insert(0, table["sample"].to_numpy())
        path = self.path.with_suffix(".parquet")
        write_table(path, table.take(np.lexsort(keys)), metadata)
        return path

    def _table(self) -> pa.Table:
        block: list[dict[str, Any]] = []
        tables = []
        for number, (rows, _) in enumerate(self._chunks(), start=1):
            block += rows
            if number % _BLOCK == 0:
                tables.append(pa.Table.from_pylist(block))
                block = []
        tables.append(pa.Table.from_pylist(block))
        filled = [table for table in tables if table.num_rows]
        return pa.concat_tables(filled, promote_options="permissive") if filled else pa.table({})

    def _chunks(self) -> Iterator[tuple[list[dict[str, Any]], int]]:
        """(rows, offset where their line ends) of every line up to the first that is not a whole chunk."""
        if not self.path.exists():
            return
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                rows = _parse(line)
                if rows is None:
                    return
                end += len(line)
                yield rows, end


def _parse(line: bytes) -> list[dict[str, Any]] | None:
    """The rows of a journal line, or None where a kill or a power cut left something else."""
    if not line.endswith(b"\n"):
        return None
    try:
        rows = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(rows, list) and all(isinstance(row, dict) and isinstance(row.get("problem_id"), str) for row in rows)
    return rows if whole else None


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be stored; give JSON values")
