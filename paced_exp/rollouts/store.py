"""The store of finished work: an append-only journal that survives `kill -9`, and the parquet file made from it.

Each line of the journal NAME.jsonl is a chunk of rows (`journal`). A line counts once its newline is written. A kill may leave part of a line at
the end, which is ignored and overwritten by the next append. So a problem's rows are stored all together or not at all. A damaged line before a
whole one cannot come from a kill, and the journal is refused.

Opening only reads the heads of lines, so its time and memory depend on the number of rollouts and not on their length. Checksums of rows are
checked when the rows are read.
"""

import contextlib
import fcntl
import logging
import os
import shlex
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pyarrow as pa

from paced_exp.core.errors import UserError
from paced_exp.core.parquet import cannot_write
from paced_exp.rollouts import journal
from paced_exp.rollouts.tables import batches, write_chunks

logger = logging.getLogger(__name__)

_SYNC_SECONDS = 1.0  # a power cut loses at most the last so many seconds; the death of the process loses nothing


class ChunkStore:
    """Rows of finished problems under folder/NAME.jsonl.

    A row is a dict of columns that the module `rows` lists, among them `problem_id`. Values of numpy are converted. All rows of a journal have the
    same columns, and all rows of a problem are appended in one chunk. If two processes or two stores write to one journal, the later one is
    refused.

    Raises `UserError` naming the line if the journal is damaged before its end, holds a problem twice, or holds an impossible row. Warns of an
    unfinished line at the end.
    """

    def __init__(self, folder: str | Path, name: str) -> None:
        self.path = Path(folder) / f"{name}.jsonl"
        self._lines: list[journal.Line] = []
        self._places: dict[str, int] = {}  # number of each problem's line, from 0
        self._end = 0  # end of the last whole line, in bytes
        self._size = 0  # size of the file after this store last read or wrote it
        self._held: tuple[int, dict[str, list[dict[str, Any]]]] | None = None  # the last line that was read
        self._syncing: threading.Timer | None = None
        self._failed: OSError | None = None
        if self.path.exists():
            with self._reading() as file:
                self._open(file)
        if self._size > self._end:
            logger.warning("%s: the last %d bytes are an unfinished chunk, which will be done again", self.path, self._size - self._end)

    # ---- what is stored, from the heads of lines

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the stored rows; none if there are none."""
        return self._lines[0].columns if self._lines else ()

    def done_ids(self) -> set[str]:
        """Ids of the problems whose rows are stored."""
        return set(self._places)

    def where(self, problem_id: str) -> str:
        """The journal and the line of a stored problem, for messages."""
        return f"{self.path} line {self._places[problem_id] + 1}"

    def outcomes(self) -> pd.DataFrame:
        """A row for each stored rollout, in the order appended, with problem_id, sample, correct, finished and `tokens` (their number).

        Raises `UserError` if the journal's rows lack one of these.
        """
        found: dict[str, list[Any]] = {"problem_id": [], "sample": [], "correct": [], "finished": [], "tokens": []}
        for line in self._lines:
            for name, entry in line.problems.items():
                found["problem_id"] += [name] * entry["rows"]
                for column in ("sample", "correct", "finished", "tokens"):
                    if column not in entry:
                        lacking = "token_ids" if column == "tokens" else column
                        raise UserError(f"{self.where(name)}: rows of rollouts need a column {lacking!r}; {self._mend(self._places[name])}")
                    found[column] += entry[column]
        return pd.DataFrame(found).astype({"problem_id": "str", "sample": "int64", "correct": bool, "finished": bool, "tokens": "int64"})

    def lengths(self) -> list[int]:
        """The number of tokens of every stored response, in the order appended."""
        return [length for line in self._lines for entry in line.problems.values() for length in entry["tokens"]]

    def check_samples(self, problem_ids: Iterable[str], samples: int, *, first: int = 0) -> None:
        """Raise `UserError` unless each of these problems has exactly the rollouts first, ..., first + samples - 1."""
        for name in problem_ids:
            if name not in self._places:
                raise UserError(
                    f"{self.path} lacks problem {name!r}, though it holds others that were stored with it; delete the file and run the same "
                    "command again: its rollouts are made anew"
                )
            place = self._places[name]
            stored = self._lines[place].problems[name].get("sample", [])
            if sorted(stored) != list(range(first, first + samples)):
                raise UserError(f"{self.where(name)}: problem {name!r} has {len(stored)} of its {samples} samples; {self._mend(place)}")

    # ---- rows

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add one finished chunk: all rows of one or more problems.

        Raises `UserError` if the journal cannot be written (a full disk) or another process writes to it; stored rows then stay as they were.
        Raises `ValueError` for a problem that is already stored and for invalid rows (`rows.check_row`).
        """
        if not rows:
            return
        ids = {row["problem_id"]: None for row in rows}
        if repeated := sorted(ids.keys() & self._places.keys()):
            raise ValueError(f"{self.path} holds problem {repeated[0]!r} already; append all rows of a problem in one chunk")
        if self._lines and set(rows[0]) != set(self._lines[0].columns):
            raise ValueError(f"{self.path} holds rows of {', '.join(self._lines[0].columns)}, not of {', '.join(rows[0])}")
        data = journal.encode(rows)
        try:
            if self._failed is not None:
                raise self._failed
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_size != self._size:
                    raise UserError(f"{self.path} was written to by another process; let one run at a time use its folder")
                file.truncate(self._end)
                self._write(file, data)
                self._take(journal.read_line(file.fileno(), self._end, self._end + len(data)))
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._size = self._end
        self._sync_soon()

    def _write(self, file: Any, line: bytes) -> None:
        self._size = self._end
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(self._end)
            raise

    def _sync_soon(self) -> None:
        # A thread syncs, since the next append may come much later: an engine finishes many problems at once and then none for minutes.
        if self._syncing is None or not self._syncing.is_alive():
            self._syncing = threading.Timer(_SYNC_SECONDS, self._sync)
            self._syncing.daemon = True
            self._syncing.start()

    def _sync(self) -> None:
        try:
            for path in (self.path, self.path.parent):  # the folder too: a new file's name is part of it
                file = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(file)
                finally:
                    os.close(file)
        except FileNotFoundError:
            pass  # a run folder that was deleted has nothing to keep
        except OSError as error:
            self._failed = error

    def chunks(self) -> Iterator[list[dict[str, Any]]]:
        """The stored chunks one by one, in the order appended. Raises `UserError` for a damaged line."""
        for place in range(len(self._lines)):
            yield self._rows(place)

    def rows_of(self, problem_id: str) -> list[dict[str, Any]]:
        """The rows of a stored problem. Raises `UserError` for a damaged line."""
        place = self._places[problem_id]
        if self._held is None or self._held[0] != place:
            by_problem: dict[str, list[dict[str, Any]]] = {}
            for row in self._rows(place):
                by_problem.setdefault(row["problem_id"], []).append(row)
            self._held = place, by_problem
        return self._held[1][problem_id]

    def rows(self) -> pd.DataFrame:
        """All stored rows in the order appended; empty and without columns if there are none. List columns hold numpy arrays.

        All tokens are then in memory. For a large journal use `outcomes` or `chunks`.
        """
        return pa.Table.from_batches(batches(self.chunks(), self.columns)).to_pandas() if self._lines else pd.DataFrame()

    def finalise(self, *, order: Sequence[str] | None = None, metadata: Mapping[str, str] | None = None) -> Path:
        """Write NAME.parquet atomically and return its path. The journal stays. Only a few batches of rows are in memory at once.

        Rows are sorted by problem, in `order` (default: by id), and then by `sample` if they have one. So the file does not depend on the order of
        appending. metadata: strings for the parquet schema. Raises `UserError` if nothing is stored, a line is damaged, or the file cannot be
        written, and `ValueError` for a stored problem that `order` lacks.
        """
        path = self.path.with_suffix(".parquet")
        if not self._lines:
            raise UserError(f"{self.path} holds no rows, so there is nothing to write to {path}")
        write_stores(path, [self], sorted(self._places) if order is None else order, metadata)
        return path

    def _rows(self, place: int) -> list[dict[str, Any]]:
        with self._reading() as file:
            try:
                return journal.read_rows(file, self._lines[place])
            except ValueError as error:
                self._refuse(place, error)

    # ---- opening

    @contextlib.contextmanager
    def _reading(self) -> Iterator[int]:
        try:
            file = os.open(self.path, os.O_RDONLY)
            try:
                yield file
            finally:
                os.close(file)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error.strerror or error}); mend the file or the folder") from error

    def _open(self, file: int) -> None:
        self._size = os.fstat(file).st_size
        while self._end < self._size:
            try:
                line = journal.read_line(file, self._end, self._size)
                if line.end == self._size:
                    journal.read_rows(file, line)  # a power cut can leave the last line's length without its content
            except journal.NoChunk as error:
                # Without a whole line after it, this is what a kill or a power cut leaves: it is made again. Otherwise the journal is damaged.
                if self._whole_line_after(file, error.end):
                    self._refuse(len(self._lines), error)
                return
            except journal.BadRow as error:
                self._refuse(len(self._lines), error)
            self._take(line)

    def _take(self, line: journal.Line) -> None:
        place = len(self._lines)
        for name in line.problems:
            if name in self._places:
                self._refuse(place, ValueError(f"it holds problem {name!r}, which line {self._places[name] + 1} holds already"))
            self._places[name] = place
        if self._lines and set(line.columns) != set(self._lines[0].columns):
            self._refuse(place, ValueError(f"its rows have other columns ({', '.join(line.columns)}) than those before"))
        self._lines.append(line)
        self._end = line.end

    def _whole_line_after(self, file: int, end: int | None) -> bool:
        """Whether a whole line begins after the bad one at `self._end`. end: where the bad line ends according to its head, if known."""
        starts = [] if end is None else [end]
        start = self._end
        with open(os.dup(file), "rb") as lines:
            lines.seek(start)
            for line in lines:
                start += len(line)
                starts.append(start)
        for start in starts:
            try:
                journal.read_line(file, start, self._size)
                return True
            except journal.NoChunk:
                continue
            except journal.BadRow:
                return True
        return False

    def _refuse(self, place: int, error: ValueError) -> NoReturn:
        raise UserError(f"{self.path} line {place + 1} is damaged: {error}; {self._mend(place)}") from error

    def _mend(self, place: int) -> str:
        return f"take the line out (sed -i {place + 1}d {shlex.quote(str(self.path))}) and run the same command again: what it held is made anew"


def write_stores(path: Path, stores: Sequence[ChunkStore], order: Sequence[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write the rows of `stores` to the parquet file `path`, atomically: by problem in `order`, and then by `sample` if they have one.

    A problem may have rows in several stores, which must have the same columns. Raises `UserError` as `ChunkStore.finalise` does, and
    `ValueError` for a stored problem that `order` lacks.
    """
    held = [(store, store.done_ids()) for store in stores]
    for store, names in held:
        if missing := sorted(names - set(order)):
            raise ValueError(f"{store.path} holds problem {missing[0]!r}, which the order to write in lacks")
    chunks = (
        sorted((row for store, names in held if name in names for row in store.rows_of(name)), key=lambda row: row.get("sample", 0))
        for name in order
    )
    write_chunks(path, chunks, stores[0].columns, metadata)
