"""Files for other trainers, written atomically and by the ending that the trainer tells their format by."""

import json
from pathlib import Path
from typing import Any

from paced_exp.core.atomic import atomic_file
from paced_exp.core.errors import UserError


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write `rows` as parquet, atomically. Raises `UserError` where the file cannot be written or would not be parquet."""
    import pyarrow as pa

    from paced_exp.core.parquet import write_table

    if path.suffix != ".parquet":
        raise UserError(f"`out` {path} must end in .parquet, by which its format is told")
    write_table(path, pa.Table.from_pylist(rows), None)


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write `rows` as JSON lines, atomically. Raises `UserError` where the file cannot be written or would not be .jsonl."""
    if path.suffix != ".jsonl":
        raise UserError(f"`out` {path} must end in .jsonl, by which its format is told")
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically. Raises `UserError` where the file cannot be written."""
    try:
        with atomic_file(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise UserError(f"`out` {path} cannot be written ({error.strerror or error}); name another file") from error
