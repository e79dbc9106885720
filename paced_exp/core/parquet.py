"""Parquet files with metadata, written atomically."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from paced_exp.core.atomic import atomic_file
from paced_exp.core.errors import UserError


def write_table(path: Path, table: pa.Table, metadata: Mapping[str, str] | None = None) -> None:
    """Write `table` to `path` atomically, with `metadata` in its schema. With the same version of pyarrow, equal tables give equal bytes.

    Raises `UserError` if the file cannot be written (a full disk, a read-only folder). An older file then stays as it was.
    """
    # pandas' metadata is dropped: it holds a version, and readers only need the columns.
    table = table.replace_schema_metadata(_sorted(metadata)).combine_chunks()
    try:
        with atomic_file(path) as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], metadata: Mapping[str, str] | None = None) -> None:
    """`write_table` for a table that need not fit in memory. Each batch has the `schema` and is written as a row group."""
    schema = schema.with_metadata(_sorted(metadata))
    try:
        with atomic_file(path) as file, pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
            for batch in batches:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))
    except OSError as error:
        raise cannot_write(path, error) from error


def _sorted(metadata: Mapping[str, str] | None) -> dict[str, str] | None:
    return {key: metadata[key] for key in sorted(metadata)} if metadata else None


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a parquet file, or these columns of it, with its metadata in `schema.metadata`. Pages with checksums are checked.

    Raises `UserError` for a file that is missing or damaged.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the parquet file in it")
    try:
        table = pq.read_table(path, columns=columns and [*columns], memory_map=False, page_checksum_verification=True)
        _ = table.column_names  # names are only decoded now, which may fail
        return table
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the path, or make it with: python -m paced_exp.rollout") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is no readable parquet file ({error!s:.200}); give another, or, where a run here made it, delete it and run again"
        ) from error


def cannot_write(path: Path, error: OSError) -> UserError:
    """The one line for a failed write."""
    return UserError(
        f"{path} cannot be written ({error.strerror or error}); free some space or mend the folder and run the same command again, finished work is kept"
    )
