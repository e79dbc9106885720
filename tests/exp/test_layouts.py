"""The published layouts of problems, and the columns of a user's own rows."""

import re
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from paced_exp.core.errors import UserError
from paced_exp.data.answers import extract_boxed
from paced_exp.data.layouts import dapo, gsm8k, mmlu, plain
from paced_exp.data.problem import Problem
from paced_exp.data.sources import load_problems
from tests.support.problem_files import DAPO_ROW, ORIGIN, dapo_row, shared, write


def test_math500():
    path, raw = shared("math500.jsonl")
    problems = load_problems(path)
    assert len(problems) == 500
    for problem, row in zip(problems, raw, strict=True):
        assert (problem.prompt, problem.answer, problem.solution) == (row["problem"], row["answer"], row["solution"])
        assert (problem.id, problem.grader, problem.split) == (row["unique_id"], "math", "math500")
        assert problem.metadata == {"subject": row["subject"], "level": row["level"]}
        assert extract_boxed(problem.solution) is not None


def test_aime():
    path, raw = shared("aime2024.jsonl")
    problems = load_problems(path)
    assert [problem.answer for problem in problems] == [row["answer"] for row in raw]
    # Solutions that frame the answer otherwise, or not at all, get it in a box at the end; the others stay as they are.
    for problem, row in zip(problems, raw, strict=True):
        added = problem.solution.removeprefix(row["solution"].rstrip())
        assert added == (
            f"\n\\boxed{{{row['answer']}}}" if "\\boxed" not in row["solution"] else row["solution"][len(row["solution"].rstrip()) :]
        )
    path, raw = shared("aime2025.jsonl")
    assert [(problem.prompt, problem.answer, problem.solution) for problem in load_problems(path)] == [
        (row["problem"], row["answer"], None) for row in raw
    ]


@pytest.mark.parametrize("name", ["gsm8k_test.jsonl", "gsm8k_train.jsonl"])
def test_gsm8k(name):
    path, raw = shared(name)
    for problem, row in zip(load_problems(path), raw, strict=True):
        gold = re.search(r"\n#### (.*)$", row["answer"]).group(1)
        assert Decimal(problem.answer) == Decimal(gold.replace(",", ""))
        assert problem.prompt == row["question"]
        assert "<<" not in problem.solution and "####" not in problem.solution
        assert problem.solution.endswith(f"\n\\boxed{{{problem.answer}}}")
        assert problem.grader == "math"


def test_gsm8k_row():
    problem = gsm8k({"question": "Q", "answer": "5*300=<<5*300=1500>>1500\nso $1,500 <b>\n#### 1,500"}, ORIGIN)
    assert problem == Problem("file-3", "Q", "1500", "5*300=1500\nso $1,500 <b>\n\\boxed{1500}", "file.jsonl", "file", "math")


def test_mmlu():
    path, raw = shared("mmlu_stem.jsonl")
    problems = load_problems(path)
    assert len(problems) == len(raw) == 3018
    for problem, row in zip(problems, raw, strict=True):
        assert problem.grader == "exact" and problem.solution is None and problem.metadata == {"subject": row["type"]}
        assert f"\n{problem.answer}. {row['choices'][row['answer']]}\n" in problem.prompt
        assert problem.prompt.startswith(row["question"] + "\nA. ") and problem.prompt.endswith("\\boxed{}.")


def test_mmlu_row_of_the_hub():
    problem = mmlu({"question": "Q", "subject": "law", "choices": ["w", "x", "y", "z"], "answer": 3}, ORIGIN)
    prompt = "Q\nA. w\nB. x\nC. y\nD. z\nAnswer with the letter of the correct choice in \\boxed{}."
    assert problem == Problem("file-3", prompt, "D", None, "file.jsonl", "file", "exact", {"subject": "law"})


def test_mmlu_ids_are_taken_where_there_are_some():
    row = {"question": "Q", "choices": ["w", "x"], "answer": 0}
    assert [mmlu(row | given, ORIGIN).id for given in ({"id": "law-7"}, {"id": 7}, {"id": None})] == ["law-7", "7", "file-3"]


DAPO_PROCESSED_ROW = DAPO_ROW | {"prompt": "What is $17+17$?", "solution": "34", "source_prompt": DAPO_ROW["prompt"]}


@pytest.mark.parametrize("row", [DAPO_ROW, DAPO_PROCESSED_ROW], ids=["published", "processed"])
def test_dapo_row(row):
    assert dapo(row, ORIGIN) == Problem("9a9b6eb4", "What is $17+17$?", "34", None, "file.jsonl", "file", "math")


def test_dapo_file_drops_the_published_repeats(tmp_path, capsys):
    other = DAPO_ROW | {"prompt": [{"role": "user", "content": "Another?"}], "extra_info": {"index": "other"}}
    path = tmp_path / "dapo.parquet"
    pq.write_table(pa.Table.from_pylist([DAPO_ROW, other] * 100), path)
    assert [problem.id for problem in load_problems(str(path))] == ["9a9b6eb4", "other"]
    assert capsys.readouterr().err == f"{path}: 198 of 200 rows repeat the prompt of an earlier one and were dropped\n"


def test_dapo_prompts_with_different_answers_are_refused_in_a_file(tmp_path):
    path = write(tmp_path / "dapo.jsonl", [dapo_row("1"), dapo_row("4", "Q"), dapo_row(" 1 "), dapo_row("2")])
    named = f"dapo.jsonl: 1 prompt with different answers: {path} line 1 has '1', {path} line 4 has '2'; mend the answers"
    with pytest.raises(UserError, match=re.escape(named)):
        load_problems(path)
    path = write(tmp_path / "many.jsonl", [dapo_row(answer, f"P{n}") for n in range(9) for answer in ("1", "2")])
    with pytest.raises(UserError, match="9 prompts with different answers") as caught:
        load_problems(path)
    assert str(caught.value).count("has '2'") == 3


@pytest.mark.parametrize(
    "row",
    [
        {"problem": "P", "answer": "204", "solution": "S \\boxed{204}", "unique_id": "7"},
        {"ID": "7", "Problem": "P", "Answer": 204, "Solution": "S \\boxed{204}"},
        {"id": 7, "problem": "P", "answer": "204", "solution": "S \\boxed{204}"},
        {"id": "7", "question": "P", "answer": 204.0, "solution": "S \\boxed{204}"},
        {"id": "7", "question": "P", "answer": Decimal(204), "solution": "S \\boxed{204}"},
    ],
    ids=["MATH-500", "Maxwell-Jia/AIME_2024", "HuggingFaceH4/aime_2024", "float", "decimal"],
)
def test_plain_column_names(row):
    problem = plain(row, ORIGIN)
    assert (problem.id, problem.prompt, problem.solution) == ("7", "P", "S \\boxed{204}")
    assert Decimal(problem.answer) == 204


@pytest.mark.parametrize(("value", "text"), [(7, "7"), (-2.5, "-2.5"), (1e-7, "0.0000001"), (1e22, "1" + "0" * 22), (" x ", "x")])
def test_answers_become_text_without_an_exponent(value, text):
    assert plain({"prompt": "P", "answer": value}, ORIGIN).answer == text


def test_extra_columns_are_kept_when_they_are_plain_values():
    row = {"prompt": "P", "answer": "1", "level": 3, "tags": ["a"], "missing": None, "hard": True}
    assert plain(row, ORIGIN).metadata == {"level": 3, "hard": True}
