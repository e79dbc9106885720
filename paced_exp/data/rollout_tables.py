"""Counts out of a file of rollouts: a row a rollout, with problem_id and whether it is correct. Needs numpy alone, and pyarrow for parquet."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.data.problem_tables import SUFFIXES, Counts, Row, read_counts, text_rows

_WORDS = {"true": 1, "false": 0}  # a csv's, which has no types


def counts_of_file(path: str | Path) -> Counts:
    """The counts in a .jsonl, .csv or .parquet file: of problems (problem_id, k, K), or of rollouts (problem_id, correct).

    A rollout's `correct` is true or false, or 1 or 0. Where rows have a column `sample`, no two of a problem may have the same. Problems come
    in the order in which they first occur. Raises `UserError`, naming the file and the row, as `read_counts` does.
    """
    path = Path(path)
    names = _names(path)
    if "correct" not in names or "k" in names:
        return read_counts(path)
    rolled: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    seen = set()
    for where, row in _rows(path, ("problem_id", "correct", *(("sample",) if "sample" in names else ()))):
        name, correct = row["problem_id"], row["correct"]
        if type(name) not in (str, int):
            raise UserError(f"{where}: problem_id must be text or a whole number, not {name!r:.80}")
        correct = _WORDS.get(correct.strip().lower(), correct) if isinstance(correct, str) else correct
        if not isinstance(correct, bool | int | float) or correct not in (0, 1):
            raise UserError(f"{where}: correct must be true or false, or 1 or 0, not {row['correct']!r:.80}")
        if "sample" in row:
            place = str(name), str(row["sample"])
            if place in seen:
                raise UserError(f"{where}: sample {place[1]} of problem {place[0]!r} occurs twice; mend the file")
            seen.add(place)
        passed[str(name)] += int(correct)
        rolled[str(name)] += 1
    if not rolled:
        raise UserError(f"{path} has no rollouts in it; give problem_id and correct a line")
    return Counts([*rolled], np.array([passed[name] for name in rolled]), np.array([*rolled.values()]))


def _names(path: Path) -> set[str]:
    """The columns, as far as the start of the file shows them; what is wrong with the file is said by who reads it."""
    if path.suffix not in SUFFIXES or not path.is_file():
        return set()
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            return set(parquet.read_schema(path).names)
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                return set(next(csv.reader(file), []))
            first = json.loads(next((line for line in file if line.strip()), "{}"))
            return set(first) if isinstance(first, dict) else set()
    except Exception:  # damaged, in whatever way
        return set()


def _rows(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, Row]]:
    if path.suffix != ".parquet":
        yield from text_rows(path, names)
        return
    from paced_exp.core.parquet import read_table

    # These columns only: the others are the responses, which may be gigabytes.
    for number, row in enumerate(read_table(path, names).to_pylist()):
        yield f"{path} row {number}", row
