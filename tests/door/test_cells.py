"""Empty cells, ids and numbers in what is given as objects: an empty cell is no value, and nothing becomes a problem called 'nan'."""

import decimal
import fractions
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import paced_exp as paced
from paced_exp.data.problem_tables import read_weights
from paced_exp.data.sources import load_problems
from paced_exp.door.cells import is_missing, numbers_in
from paced_exp.door.inputs import Inputs

NAN = float("nan")


def test_missing_is_what_pandas_writes_into_an_empty_cell() -> None:
    assert all(map(is_missing, (None, NAN, np.float32("nan"), decimal.Decimal("nan"), pd.NA, pd.NaT)))
    assert not any(map(is_missing, ("", "nan", 0, False, np.int64(0), float("inf"), [], [None], np.array([NAN, NAN]), torch.zeros(2))))


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        [True, False],
        [1.5, 2],
        [np.int8(1), np.float32(2)],
        list(torch.tensor([1, 2])),
        [2**63 - 1, 1],
        list(np.array([2**64 - 1], np.uint64)),
    ],
)
def test_numbers_stay_what_they_are(values: list[Any]) -> None:
    assert numbers_in(values, "`k`", str, "a number").tolist() == values


@pytest.mark.parametrize("bad", [None, NAN, pd.NA, "1", b"1", [1], {}, 1j, decimal.Decimal(1), fractions.Fraction(1), 10**30])
def test_counts_that_are_no_numbers_are_refused_with_their_problem(bad: Any) -> None:
    for name, other, least in (("k", "K", 0), ("K", "k", 1)):
        given = {"problem_id": ["a", "b"], name: [1, bad], other: [1, 1]}
        with pytest.raises(paced.UserError) as caught:
            paced.weights(given)
        message = f"`rates`: {name} = {bad!r} of problem 'b' must be a whole number of at least {least}; mend the row"
        assert str(caught.value) == message


def test_counts_of_a_frame_with_empty_cells_are_refused() -> None:
    for kind in ("float64", "Int64", object):
        frame = pd.DataFrame({"problem_id": ["a", "b"], "k": pd.array([1, None], dtype=kind), "K": [2, 2]})
        with pytest.raises(paced.UserError, match=r"`rates`: k = .* of problem 'b' must be a whole number of at least 0"):
            paced.weights(frame)
    whole = pd.DataFrame({"problem_id": ["a", "b"], "k": pd.array([1, 2], dtype="Int64"), "K": [2.0, 4.0]})
    assert paced.weights(whole).weight.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bad", [None, NAN, pd.NA])
def test_an_empty_problem_id_is_refused_with_its_row(bad: Any, tmp_path: Path) -> None:
    line = "has the problem_id .* in row 1, counted from 0; it must be text or a whole number; name the problem"
    with pytest.raises(paced.UserError, match=f"`rates` {line}"):
        paced.weights(pd.DataFrame({"problem_id": ["a", bad], "k": [1, 1], "K": [2, 2]}))
    for given in (pd.DataFrame({"problem_id": ["a", bad], "weight": [1.0, 1.0]}), {"a": 1.0, bad: 1.0}):
        with pytest.raises(paced.UserError, match=f"`weights` {line}"):
            Inputs(tmp_path / "run").weights(given, list)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("bad", "shown"), [(None, "None"), (NAN, "nan"), ("1", "'1'"), ("much", "'much'"), (-1.0, "-1.0"), (float("inf"), "inf")]
)
def test_weights_that_are_none_are_refused(bad: Any, shown: str, tmp_path: Path) -> None:
    for given in (
        {"a": 1.0, "b": bad},
        pd.DataFrame({"problem_id": ["a", "b"], "weight": pd.Series([1.0, bad], dtype=object)}),
        [1.0, bad],
    ):
        with pytest.raises(paced.UserError) as caught:
            Inputs(tmp_path / "run").weights(given, lambda: ["a", "b"])
        assert str(caught.value) == f"`weights` {shown} of problem 'b' must be a finite number of at least 0; mend the row"


def test_weights_of_arrays_and_tensors_are_numbers(tmp_path: Path) -> None:
    for given in (np.array([1, 2]), torch.tensor([1.0, 2.0]), pd.Series([1, 2]), (1, 2)):
        assert read_weights(Inputs(tmp_path / "run").weights(given, lambda: ["a", "b"])) == {"a": 1.0, "b": 2.0}


ROWS: list[dict[str, Any]] = [{"id": "a", "prompt": "1+1=", "answer": "2"}, {"id": "b", "prompt": "2+2=", "answer": "4"}]


@pytest.mark.parametrize("empty", [None, NAN, pd.NA])
def test_a_problem_of_a_frame_may_have_no_solution(empty: Any, tmp_path: Path) -> None:
    rows = [{**ROWS[0], "solution": "It is \\boxed{2}", "level": 3}, {**ROWS[1], "solution": empty, "level": empty}]
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in rows[0]})
    for given in (frame, rows):
        first, second = load_problems(Inputs(tmp_path / "run").problems(given))
        assert (first.id, first.solution, first.metadata) == ("a", "It is \\boxed{2}", {"level": 3})
        assert (second.id, second.solution, second.metadata) == ("b", None, {})


def test_a_missing_prompt_or_answer_is_still_refused(tmp_path: Path) -> None:
    for name, line in (("prompt", r"no prompt \(column 'prompt' is None\)"), ("answer", "no answer")):
        with pytest.raises(paced.UserError, match=f"line 2: {line}"):
            load_problems(Inputs(tmp_path / "run").problems(pd.DataFrame([ROWS[0], {**ROWS[1], name: NAN}])))


@pytest.mark.parametrize("column", ["id", "ID", "unique_id", "name"])
@pytest.mark.parametrize("empty", [None, NAN, pd.NA])
def test_a_problem_with_an_empty_id_is_refused_with_its_row(empty: Any, column: str, tmp_path: Path) -> None:
    rows = [{column: name, "prompt": row["prompt"], "answer": row["answer"]} for name, row in zip(("a", empty), ROWS, strict=True)]
    options: dict[str, Any] = {"columns": {"id": column}} if column == "name" else {}
    for given in (pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in rows[0]}), rows):
        with pytest.raises(paced.UserError) as caught:
            paced.pass_rates(problems=given, K=1, device="cpu", max_new_tokens=4, out=tmp_path / "run", **options)
        assert str(caught.value).startswith(f"`problems` has the {column} ")
        assert " in row 1, counted from 0; it must be text or a whole number; name the problem" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_problems_without_a_column_of_ids_are_named_by_their_place(tmp_path: Path) -> None:
    found = load_problems(Inputs(tmp_path / "run").problems(pd.DataFrame(ROWS).drop(columns="id")))
    assert [problem.id.rpartition("-")[2] for problem in found] == ["0", "1"]
