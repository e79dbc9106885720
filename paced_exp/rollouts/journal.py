"""The lines of a store's journal. A line is a chunk of rows with checksums, and with a head from which rows are counted without reading tokens.

A line is one JSON object, written in this order:

    {"crc": checksum of all before "rows", "bytes": length of the line, "head": position of "rows", "rows_crc": checksum of the rest,
     "columns": [...], "problems": [{"problem_id": ..., "rows": ..., "sample": [...], "correct": [...], ...}], "rows": [...]}

`crc`, `bytes`, `head` and `rows_crc` have fixed widths. So a reader knows from a line's first bytes where its head ends and the next line begins.
Checksums are CRC-32, which detects every error within 32 neighbouring bits. Lines of earlier versions are also read: they are JSON lists of
rows without a checksum, and must be parsed.
"""

import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paced_exp.rollouts.rows import check_row, plain, schema_of

_CRC = b'{"crc":"%08x",'
_REST = b'"bytes":%12d,"head":%9d,"rows_crc":"%08x",'
_START = re.compile(rb'\{"crc":"([0-9a-f]{8})","bytes":([ ]*[0-9]+),"head":([ ]*[0-9]+),"rows_crc":"([0-9a-f]{8})",')
_START_BYTES = len(_CRC % 0) + len(_REST % (0, 0, 0))
_PER_ROW = ("sample", "correct", "finished")  # columns that the head repeats for each row, besides its number of tokens


class NoChunk(ValueError):
    """Bytes that are not a whole chunk: cut off by a kill or a power cut, or damaged. end: where the line would end, if that is known."""

    def __init__(self, why: str, end: int | None = None) -> None:
        super().__init__(why)
        self.end = end


class BadRow(ValueError):
    """A whole line with rows that this program never writes."""


@dataclass(frozen=True)
class Line:
    """The content of a line's head.

    start, end: the line's bytes in the file. problems: for each id, the number of `rows`, and lists of the rows' `sample`, `correct`,
    `finished` and `tokens` (the number of tokens), as far as the rows have these columns.
    """

    start: int
    end: int
    columns: tuple[str, ...]
    problems: dict[str, dict[str, Any]]


def encode(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The line of a chunk. Raises `ValueError` if rows have different columns or a value has another type than its column."""
    stored = [plain(row) for row in rows]
    columns = tuple(stored[0])
    _check(stored, columns)
    body = b'"rows":' + _json(stored) + b"}\n"
    head = b'"columns":' + _json(list(columns)) + b',"problems":' + _json(list(_problems(stored).values())) + b","
    length = _START_BYTES + len(head)
    head = _REST % (length + len(body), length, zlib.crc32(body)) + head
    return _CRC % zlib.crc32(head) + head + body


def read_line(file: int, start: int, size: int) -> Line:
    """The line that begins at byte `start` of the open file of `size` bytes. If it has a head, only that is read.

    Raises `NoChunk` if no whole line begins there, and `BadRow` for a line of an earlier version with an impossible row.
    """
    opening = os.pread(file, _START_BYTES, start)
    if opening.startswith(b"["):
        return _line_of_rows(_unchecked(file, start, size), start)
    found = _START.fullmatch(opening)
    if found is None:
        raise NoChunk("its beginning is not that of a line")
    end, length = start + int(found[2]), int(found[3])
    head = os.pread(file, min(length, size - start), start)
    if len(head) < length or zlib.crc32(head[len(_CRC % 0) :]) != int(found[1], 16):
        raise NoChunk("the checksum of its head is wrong")
    if end > size or os.pread(file, 1, end - 1) != b"\n":
        raise NoChunk("it is not as long as it says", end)
    return _line_of_head(head, start, end)


def read_rows(file: int, line: Line) -> list[dict[str, Any]]:
    """The rows of a line. Raises `NoChunk` if its checksum is wrong, `BadRow` for an impossible row or one that the head does not list."""
    data = os.pread(file, line.end - line.start, line.start)
    if data.startswith(b"["):
        return _parse(data)
    found = _START.match(data)
    if found is None or zlib.crc32(data[int(found[3]) :]) != int(found[4], 16):
        raise NoChunk("its checksum is wrong", line.end)
    rows = _parse(b"{" + data[int(found[3]) :])
    try:
        _check(rows, line.columns)
    except ValueError as error:
        raise BadRow(str(error)) from error
    if _problems(rows) != line.problems:
        raise BadRow("its rows are not those that its head lists")
    return rows


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def _parse(data: bytes) -> list[dict[str, Any]]:
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NoChunk("it is not JSON") from error
    rows = rows.get("rows") if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("problem_id"), str) for row in rows):
        raise NoChunk("it is not a list of rows with a problem_id each")
    return rows


def _check(rows: Sequence[Any], columns: tuple[str, ...]) -> None:
    schema_of(columns)
    for row in rows:
        check_row(row, columns)
    if "sample" in columns:
        drawn = [(row["problem_id"], row["sample"]) for row in rows]
        if len(set(drawn)) < len(drawn):
            twice = next(pair for pair in drawn if drawn.count(pair) > 1)
            raise ValueError(f"sample {twice[1]} of problem {twice[0]!r} occurs twice")


def _problems(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The entry of each problem in the head of a line with these rows."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = row["problem_id"]
        entry = found.setdefault(name, {"problem_id": name, "rows": 0})
        entry["rows"] += 1
        for column in _PER_ROW:
            if column in row:
                entry.setdefault(column, []).append(int(row[column]))
        if "token_ids" in row:
            entry.setdefault("tokens", []).append(len(row["token_ids"]))
    return found


def _line_of_head(head: bytes, start: int, end: int) -> Line:
    try:
        content = json.loads(head[:-1] + b"}")
        columns, problems = tuple(content["columns"]), {entry["problem_id"]: entry for entry in content["problems"]}
        whole = bool(problems) and all(
            type(entry["rows"]) is int
            and set(entry) - {"problem_id", "rows"} <= {*_PER_ROW, "tokens"}
            and all(
                type(values) is list and len(values) == entry["rows"] and set(map(type, values)) <= {int}
                for name, values in entry.items()
                if name not in ("problem_id", "rows")
            )
            for entry in problems.values()
        )
        if not whole or not set(map(type, problems)) <= {str}:
            raise ValueError("problems")
        schema_of(columns)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadRow(f"its head is not one that this program writes ({error})") from error
    return Line(start, end, columns, problems)


def _unchecked(file: int, start: int, size: int) -> bytes:
    """The line of an earlier version that begins at `start`."""
    data, searched, block = bytearray(), 0, 1 << 14
    while (found := data.find(b"\n", searched)) < 0:
        if start + len(data) >= size:
            raise NoChunk("it has no end")
        searched = len(data)
        data += os.pread(file, block, start + searched)
        block *= 2
    return bytes(data[: found + 1])


def _line_of_rows(data: bytes, start: int) -> Line:
    rows = _parse(data)
    if not rows:
        raise NoChunk("it has no rows")
    columns = tuple(rows[0])
    try:
        _check(rows, columns)
    except ValueError as error:
        raise BadRow(str(error)) from error
    return Line(start, start + len(data), columns, _problems(rows))
