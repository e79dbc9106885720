"""Counts and weights in files: what is written is read back, and what cannot be is refused by line."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paced_exp.core.errors import UserError
from paced_exp.data.problem_tables import SUFFIXES, Counts, read_counts, read_weights, write_rows

IDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
ROWS = st.lists(st.tuples(IDS, st.integers(0, 16), st.integers(1, 16)), min_size=1, max_size=20, unique_by=lambda row: row[0])


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(rows=ROWS)
def test_counts_come_back_as_they_were_written(
    suffix: str, rows: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("counts") / f"counts{suffix}"
    ids, K = [row[0] for row in rows], [max(row[1:]) for row in rows]
    write_rows(path, {"problem_id": ids, "k": [row[1] for row in rows], "note": ['a,\n"b"'] * len(rows), "K": K})
    counts = read_counts(path)
    assert (counts.problem_id, counts.k.tolist(), counts.K.tolist()) == (ids, [row[1] for row in rows], K)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(values=st.lists(st.floats(0, 1e300), min_size=1, max_size=20))
def test_weights_come_back_to_the_last_bit(suffix: str, values: list[float], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("weights") / f"weights{suffix}"
    ids = [f"p{number}" for number in range(len(values))]
    write_rows(path, {"problem_id": ids, "weight": np.array(values)})
    assert read_weights(path) == dict(zip(ids, values, strict=True))


def test_a_csv_by_hand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('K,k,problem_id\r\n8, 3 ,7\r\n4,0,"a,b"\r\n', encoding="utf-8-sig", newline="")
    counts = read_counts(path)
    assert counts.problem_id == ["7", "a,b"] and counts.k.tolist() == [3, 0] and counts.K.tolist() == [8, 4]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "", "has no column 'problem_id'; its first line must name problem_id, k and K"),
        ("c.csv", "problem_id,k\na,1\n", "has no column 'K'"),
        ("c.csv", "problem_id,k,K\n", "has no pass rates in it"),
        ("c.csv", "problem_id,k,K\na,1\n", "line 2 has fewer values than the first line has names"),
        ("c.csv", "problem_id,k,K\na,1.5,4\n", "line 2: k and K must be whole numbers, not 1.5 and 4"),
        ("c.csv", "problem_id,k,K\na,one,4\n", "line 2: k and K must be whole numbers, not 'one' and 4"),
        ("c.csv", "problem_id,k,K\na,5,4\n", "k = 5 of problem 'a' exceeds its K"),
        ("c.csv", "problem_id,k,K\na,1,4\na,1,4\n", "problem_id = a of problem 'a' occurs more than once"),
        (
            "c.csv",
            "problem_id,k,K\nb,1,4\nalgebra,1,4,8\n",
            "line 3 has more values than the first line has names; put a value that holds a comma",
        ),
        ("c.csv", "problem_id,k,K,k\na,2,8,7\n", "line 1 names the column 'k' more than once; keep one of them"),
        ("c.csv", f"problem_id,k,K\na,1,{'9' * 50}\n", "line 2: k and K must be whole numbers"),
        ("c.csv", f'problem_id,k,K\n"{"a" * 200_000}",1,4\n', "is no readable csv"),
        ("c.jsonl", '{"problem_id": "a", "k": 1}', 'line 1: expected {"problem_id": ..., "k": ..., "K": ...}'),
        ("c.txt", "", "must end in .jsonl, .csv, .parquet"),
    ],
)
def test_counts_that_cannot_be_are_refused_in_one_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_counts(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem_id": "a", "weight": -1}, "weight = -1.0 of problem 'a' must be a finite number of at least 0"),
        ({"problem_id": "a", "weight": "1"}, "line 1: weight must be a finite number, not '1'"),
        ({"problem_id": "a", "weight": True}, "line 1: weight must be a finite number, not True"),
        ({"problem_id": "a", "weight": 1e308}, "line 1: weight must be a finite number"),
        ({"problem_id": "a", "k": 1}, 'line 1: expected {"problem_id": ..., "weight": ...}'),
    ],
)
def test_weights_that_cannot_be_are_refused_in_one_line(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(UserError, match=re.escape(message)):
        read_weights(path)
    path.write_text("")
    with pytest.raises(UserError, match="has no weights in it; make it with: paced weights COUNTS --out"):
        read_weights(path)


def test_a_parquet_of_other_columns_or_types_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.parquet"
    for table, message in (
        (pa.table({"problem_id": ["a"]}), "has no column 'weight'"),
        (pa.table({"problem_id": [1], "weight": [1.0]}), "column 'problem_id' holds int64, not text"),
        (pa.table({"problem_id": ["a"], "weight": ["1"]}), "column 'weight' holds string, not numbers"),
        (pa.table({"problem_id": ["a"], "weight": pa.array([None], pa.float64())}), "weight = nan of problem 'a' must be a finite number"),
        (pa.table({"problem_id": ["a"], "weight": [1.0]}, metadata={"paced_checksum": "sha256:0"}), "is damaged (its checksum is wrong)"),
    ):
        pq.write_table(table, path)
        with pytest.raises(UserError, match=re.escape(message)):
            read_weights(path)


def test_a_failed_write_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.jsonl"
    write_rows(path, {"problem_id": ["a"], "weight": [1.0]})
    with pytest.raises(ValueError, match="Out of range float"):
        write_rows(path, {"problem_id": ["a"], "weight": [float("nan")]})
    assert read_weights(path) == {"a": 1.0} and [found.name for found in tmp_path.iterdir()] == ["weights.jsonl"]
    with pytest.raises(UserError, match="must end in"):
        write_rows(tmp_path / "weights.xls", {"problem_id": ["a"], "weight": [1.0]})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_rows(tmp_path / "file" / "weights.csv", {"problem_id": ["a"], "weight": [1.0]})


def test_a_csv_may_have_other_columns_twice_and_a_comma_in_quotes(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('problem_id,k,K,,\n"algebra,1",4,8,,\n')
    assert read_counts(path).problem_id == ["algebra,1"]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("x", "k = 'x' of problem 'b' must be a whole number of at least 0"),
        ("1", "k = '1' of problem 'b' must be a whole number of at least 0"),
        (None, "k = None of problem 'b' must be a whole number of at least 0"),
        (True, "k = True of problem 'b' must be a whole number of at least 0"),
        ([1], "k = [1] of problem 'b' must be a whole number of at least 0"),
        (10**30, f"k = {10**30} of problem 'b' must be at most 2147483647"),
        (-(10**30), f"k = {-(10**30)} of problem 'b' must be at most 2147483647"),
    ],
)
def test_values_that_are_no_numbers_are_refused_with_their_problem(value: Any, line: str) -> None:
    for k in ([1, value], np.array([1, value], dtype=object) if not isinstance(value, list) else [1, value]):
        with pytest.raises(UserError, match=re.escape(line)):
            Counts(["a", "b"], k, [8, 8])  # type: ignore[arg-type]


@pytest.mark.parametrize("K", [8, "88", [8], [8, 8, 8], np.array(8), np.full((2, 2), 8)])
def test_columns_of_another_length_are_refused(K: Any) -> None:
    with pytest.raises(UserError, match="must be 2 numbers, one for each problem_id"):
        Counts(["a", "b"], np.array([1, 2]), K)


@pytest.mark.parametrize("K", [[8, 8.0], (8, 9), np.array([8, 9], dtype=object), np.array([8, 9], dtype=np.uint64)])
def test_numbers_of_any_kind_are_counts(K: Any) -> None:
    found = Counts(["a", "b"], np.array([1, 2]), K)
    assert found.K.tolist() == [int(value) for value in K] and found.K.dtype == np.int64


@pytest.mark.parametrize("k", [[0.5], [np.nan], [-1]])
def test_counts_of_no_whole_numbers_are_refused(k: list[float]) -> None:
    with pytest.raises(UserError, match="must be a whole number of at least 0"):
        Counts(["a"], np.array(k), np.array([4]))
