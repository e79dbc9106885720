"""docs/data-formats.md names the columns that files have: those of the code, and those of a small run."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from paced_exp.data.answers import MAX_ANSWER_CHARS
from paced_exp.data.layouts import PLAIN_COLUMNS
from paced_exp.data.problem import Problem
from paced_exp.data.prompt_hashes import PROMPT_HASH
from paced_exp.data.readers import read_file
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.evaluation.run import evaluate
from paced_exp.rollouts import pass_rates
from paced_exp.rollouts.config import RolloutConfig
from paced_exp.rollouts.references import ORIGINS, Reference
from paced_exp.rollouts.rows import schema_of
from paced_exp.rollouts.run import roll_out
from paced_exp.weights import main as weights_command
from tests.support.pages import ROOT

PAGE = (ROOT / "docs" / "data-formats.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n")[0].split(":")[0]: part for part in re.split(r"^## ", PAGE, flags=re.M)[1:]}


def table(section: str, head: str = "column") -> list[list[str]]:
    """The cells of the rows of a section's first table whose head begins with a word."""
    found = re.search(rf"^\| {head} \|.*\n\|[-|]+\n((?:\|.*\n)+)", SECTIONS[section], re.M)
    assert found is not None
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|\n"))] for line in found[1].splitlines()]


def columns(section: str) -> dict[str, str]:
    return {row[0].strip("`"): row[1] for row in table(section)}


def kind_of(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "list of integers"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "true/false" if pa.types.is_boolean(kind) else "integer" if pa.types.is_integer(kind) else "number"


def kinds(schema: pa.Schema) -> dict[str, str]:
    return {field.name: kind_of(field.type) for field in schema}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    sizes = {"limit": 2, "max_new_tokens": 8, "device": "cpu"}
    roll_out(RolloutConfig(K=2, out=str(folder / "rollout"), **sizes))
    evaluate(EvaluateConfig(problems="lab:mid", samples=2, out=str(folder / "evaluate"), **sizes))
    weights_command([str(folder / "rollout" / "pass_rates.parquet"), "--estimate", "posterior", "--out", str(folder / "weights.parquet")])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "file"),
    [
        ("Rollouts", "rollout/rollouts.parquet"),
        ("Pass rates", "rollout/pass_rates.parquet"),
        ("Scores", "evaluate/scores.parquet"),
        ("Weights", "weights.parquet"),
    ],
)
def test_columns_are_those_of_the_file(runs: Path, section: str, file: str) -> None:
    assert columns(section) == kinds(pq.read_schema(runs / file))


@pytest.mark.slow
def test_files_of_a_run_are_those_named(runs: Path) -> None:
    named = {row[0].strip("`") for row in table("A run's folder", "file")}
    in_rollout = {path.name for path in (runs / "rollout").iterdir() if not path.name.startswith(".")}
    assert in_rollout - {"rollouts.jsonl", "rollouts.parquet", "pass_rates.parquet"} <= named
    record = json.loads((runs / "rollout" / "record.json").read_text())
    assert {row[0].strip("`") for row in table("Records", "field")} <= record.keys()


def test_pass_rates_and_references_are_the_code_s() -> None:
    assert tuple(columns("Pass rates")) == (*pass_rates.COLUMNS, "weight", PROMPT_HASH)
    names = tuple(field.name for field in fields(Reference))
    assert columns("References") == kinds(schema_of(names))
    (origin,) = (row[2] for row in table("References") if row[0] == "`origin`")
    assert tuple(re.findall(r"`(\w+)`", origin)) == ORIGINS


def test_columns_of_problems_are_those_that_are_looked_for(tmp_path: Path) -> None:
    rows = {row[0].strip("`"): tuple(re.findall(r"`(\w+)`", row[1])) for row in table("Problems", "field")}
    assert rows == PLAIN_COLUMNS and f"{MAX_ANSWER_CHARS:,} characters" in PAGE
    assert {field.name for field in fields(Problem)} == {*rows, "source", "split", "metadata"}
    layouts = {row[0].strip("`") for row in table("Problems", "layout")}
    assert layouts == {"saved", "dapo", "mmlu", "gsm8k", "plain"}
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "1+1?", "answer": "So\\n#### 2"}\n')
    (problem,) = read_file(str(file))
    assert (problem.id, problem.answer, problem.solution, problem.grader) == ("mine-0", "2", "So\n\\boxed{2}", "math")
