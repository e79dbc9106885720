"""Sources of problems: loading, streaming and saving.

A source is `lab:SPLIT`, a path ending in .jsonl or .parquet, or `hub:OWNER/NAME[/CONFIG][:SPLIT]` (a data set of the Hugging Face hub);
several are joined by commas. The columns of published data sets are recognised (`layouts`); other columns are mapped by an option.
"""

import hashlib
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem


def load_problems(spec: str, *, limit: int | None = None, seed: int = 0, columns: dict[str, str] | None = None) -> list[Problem]:
    """The problems of `spec`, source after source.

    limit: at most so many of each source; None takes all. From a file or the hub, they are a random sample without replacement, drawn with
    `seed` since files are often sorted by subject, in the file's order. The lab gives the first problems of the stream of `seed`, by default
    as many as the split's size. columns: maps fields of `Problem` to columns, for files and the hub.

    Raises `UserError` for a source that is missing, empty or malformed, and for an id that occurs twice.
    """
    if limit is not None and limit < 1:
        raise UserError(f"`limit` {limit} must be at least 1; leave it out to take all problems")
    return list(_unique(itertools.chain.from_iterable(_load_one(part, limit, seed, columns) for part in _parts(spec, seed))))


def stream_problems(spec: str, *, seed: int = 0, columns: dict[str, str] | None = None) -> Iterator[Problem]:
    """The problems of `spec` in random order by `seed`: endless for the lab, once each for files and the hub.

    Several sources take turns until the finite ones are used up. Raises `UserError` as `load_problems` does.
    """
    turns = [_stream_one(part, seed, columns) for part in _parts(spec, seed)]
    return _unique(_round_robin(turns))


def save_problems(problems: Sequence[Problem], path: Path) -> None:
    """Write problems atomically as parquet, so that `load_problems(str(path))` returns equal problems.

    Metadata are stored as JSON text, so their tuples come back as lists. Raises `UserError` if the file cannot be written.
    """
    import pyarrow as pa

    from paced_exp.core.parquet import write_table

    rows = [{name.name: getattr(problem, name.name) for name in fields(Problem)} for problem in problems]
    for row in rows:
        row["metadata"] = json.dumps(row["metadata"])
    write_table(path, pa.Table.from_pylist(rows, pa.schema([(name.name, pa.string()) for name in fields(Problem)])))


def source_fingerprint(spec: str) -> str:
    """SHA-256 over the sources in `spec`: the bytes of files, and the names of lab: and hub: sources, which only change with their version."""
    digest = hashlib.sha256()
    for part in _parts(spec, 0):
        digest.update(Path(part).read_bytes() if os.path.isfile(part) else part.encode())
    return f"sha256:{digest.hexdigest()}"


def _parts(spec: str, seed: int) -> list[str]:
    parts = [spec] if os.path.isfile(spec) else [part.strip() for part in spec.split(",")]  # a path may have a comma
    if not all(parts):
        raise UserError(f"source {spec!r} has an empty name; give lab:SPLIT, a .jsonl or .parquet path, or hub:OWNER/NAME")
    if seed < 0:
        raise UserError(f"`seed` {seed} must be at least 0")
    return parts


def _load_one(part: str, limit: int | None, seed: int, columns: dict[str, str] | None) -> list[Problem]:
    if part.startswith("lab:"):
        return _first_of_lab(part, limit, seed, columns)
    problems = _read(part, columns)
    if limit is None or limit >= len(problems):
        return problems
    print(f"{part}: {limit} of {len(problems)} problems, drawn at random with seed {seed}", file=sys.stderr)
    return [problems[index] for index in np.sort(np.random.default_rng(seed).permutation(len(problems))[:limit])]


def _first_of_lab(part: str, limit: int | None, seed: int, columns: dict[str, str] | None) -> list[Problem]:
    # Imported here, since the lab imports this package's problems, and takes a second to import.
    from paced_exp.data.lab import facts
    from paced_exp.data.lab.splits import DEFAULT_SIZES
    from paced_exp.data.lab.stored import first_problems

    _without_columns(part, columns)
    split = part.removeprefix("lab:")
    size = limit or DEFAULT_SIZES.get(split, 1)  # an unknown split is reported by the lab, with the known ones
    if split == facts.SPLIT:  # a list, not a stream: all of it is as much as there is, as with a file
        size = min(size, facts.SIZE)
    found = first_problems(split, seed, size, lambda path: _read(str(path), None), save_problems)
    if len(found) < size:
        raise UserError(f"`limit` {size}: {part} has {len(found)} problems; give at most that many, or another source")
    return found


def _stream_one(part: str, seed: int, columns: dict[str, str] | None) -> Iterator[Problem]:
    if part.startswith("lab:"):
        return _lab(part, seed, columns)
    problems = _read(part, columns)
    return (problems[index] for index in np.random.default_rng(seed).permutation(len(problems)))


def _lab(part: str, seed: int, columns: dict[str, str] | None) -> Iterator[Problem]:
    _without_columns(part, columns)
    from paced_exp.data.lab.splits import lab_problems

    return lab_problems(part.removeprefix("lab:"), seed)


def _without_columns(part: str, columns: dict[str, str] | None) -> None:
    if columns:
        raise UserError(f"`columns` {columns} cannot be given with {part}: only files and hub data sets have columns")


def _read(part: str, columns: dict[str, str] | None) -> list[Problem]:
    # Imported here, since the readers import this module.
    from paced_exp.data.readers import read_file, read_hub

    return read_hub(part, columns) if part.startswith("hub:") else read_file(part, columns)


def _round_robin(turns: list[Iterator[Problem]]) -> Iterator[Problem]:
    while turns:
        for turn in list(turns):
            problem = next(turn, None)
            if problem is None:
                turns.remove(turn)
            else:
                yield problem


def _unique(problems: Iterator[Problem]) -> Iterator[Problem]:
    """Pass `problems` on. Raises `UserError` at an id that occurred before."""
    sources: dict[str, str] = {}
    for problem in problems:
        if problem.id in sources:
            where = sources[problem.id] if sources[problem.id] == problem.source else f"{sources[problem.id]} and {problem.source}"
            raise UserError(
                f"problem id {problem.id!r} occurs twice in {where}; ids must differ across all sources given: "
                "make them differ, or take the ids from another column with `columns` id=COLUMN"
            )
        sources[problem.id] = problem.source
        yield problem
