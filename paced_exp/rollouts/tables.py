"""Stored rows as Arrow batches of a bounded number of tokens, and as parquet files."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from paced_exp.core.parquet import write_batches
from paced_exp.rollouts.rows import schema_of

_BATCH_TOKENS = 1 << 20  # in the rows of a batch, which is a row group of the finished file
_BATCH_ROWS = 1 << 16


def batches(chunks: Iterable[list[dict[str, Any]]], columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """The rows of `chunks`, which have these columns, in batches. Only one batch is in memory at once."""
    block: list[dict[str, Any]] = []
    tokens = 0
    for row in (row for rows in chunks for row in rows):
        block.append(row)
        tokens += len(row.get("token_ids", ()))
        if tokens >= _BATCH_TOKENS or len(block) >= _BATCH_ROWS:
            yield pa.RecordBatch.from_pylist(block, schema_of(columns))
            block, tokens = [], 0
    if block:
        yield pa.RecordBatch.from_pylist(block, schema_of(columns))


def write_chunks(
    path: Path, chunks: Iterable[list[dict[str, Any]]], columns: tuple[str, ...], metadata: Mapping[str, str] | None = None
) -> None:
    """Write the rows of `chunks` to a parquet file, atomically. Raises `UserError` if it cannot be written."""
    write_batches(path, schema_of(columns), batches(chunks, columns), metadata)
