"""`python -m paced_exp.references` on tiny random models: what distillations read, the same after kills, one line for bad input."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import paced_exp.distill as distill
from paced_exp import references
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.grading import grader as grading
from paced_exp.training.config import DistillConfig
from paced_exp.training.references_config import ReferencesConfig, references_for
from tests.support import children
from tests.support.distill_setup import PROBLEMS, arguments, rows, write_problems
from tests.support.graders import HashGrader

pytestmark = pytest.mark.usefixtures("one_thread", "hash_grader")


def command_line(models: Path, source: Path, out: Path, **changes: Any) -> list[str]:
    options = {
        "student": models / "student",
        "teacher": models / "teacher",
        "problems": source,
        "max-new-tokens": 12,
        "device": "cpu",
        "seed": 3,
        "out": out,
        **changes,
    }
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def whole(models: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """References with the teacher's statistics, whose making nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "Grader", HashGrader)
        references.main(command_line(models, source, out, **{"teacher-statistics": "exact"}))
    return out


def statistics_of(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.relative_to(folder)} {name}": values
        for path in folder.glob("*/part-*.safetensors")
        for name, values in load_file(path).items()
    }


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return bool(one) and one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_record(whole: Path) -> None:
    record = read_json(whole / "record.json")
    chosen = pd.read_parquet(whole / "references.parquet")
    assert chosen["origin"].value_counts().to_dict() == {name: count for name, count in record["references"].items() if count}
    assert len(chosen) == PROBLEMS == record["cache"]["entries"] and record["references"]["teacher"] > 0
    assert (record["skipped_long"], record["cache"]["top_k"]) == (0, None)
    assert set(record["seconds"]) == {"references", "teacher statistics"}


def test_a_training_reads_them_and_ends_as_if_it_had_made_them(whole: Path, models: Path, source: Path, tmp_path: Path) -> None:
    alone = arguments(models, source, tmp_path / "alone", method="uniform", **{"teacher-statistics": "exact"})
    distill.main(alone)
    for name in ("references-000000.jsonl", "references.parquet"):
        assert (whole / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert equal(statistics_of(whole / "teacher_cache"), statistics_of(tmp_path / "alone" / "teacher_cache"))
    cache = sorted((path, path.stat().st_mtime_ns) for path in (whole / "teacher_cache").rglob("*"))
    given = {"references": whole, "cache": whole / "teacher_cache", "teacher-statistics": "exact"}
    distill.main(arguments(models, source, tmp_path / "given", method="uniform", **given))
    assert not list((tmp_path / "given").glob("references-*.jsonl")), "none is sampled again"
    assert cache == sorted((path, path.stat().st_mtime_ns) for path in (whole / "teacher_cache").rglob("*")), "nor read by the teacher"
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("alone", "given"))
    assert equal(one, other)


def test_kills_at_any_point_change_no_bit(whole: Path, models: Path, source: Path, tmp_path: Path) -> None:
    argv = command_line(models, source, tmp_path / "killed", **{"teacher-statistics": "exact"})
    done = children.run("-m", "tests.support.kill_references", *argv)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / "killed" / "record.json").exists()
    references.main(argv)
    for name in ("references-000000.jsonl", "references.parquet"):
        assert (whole / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    assert equal(statistics_of(whole / "teacher_cache"), statistics_of(tmp_path / "killed" / "teacher_cache"))


def test_a_problem_may_have_none_and_the_student_may_be_its_own_teacher(
    models: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"teacher": "self", "fallback": "drop", "teacher-statistics": "topk", "cache": tmp_path / "cache"}
    references.main(command_line(models, source, tmp_path / "run", **options))
    record = read_json(tmp_path / "run" / "record.json")
    made, none = (record["references"][origin] for origin in ("teacher", "none"))
    assert made and none and made + none == PROBLEMS and record["references"]["solution"] == 0
    assert (record["cache"]["entries"], record["cache"]["top_k"]) == (made, 64)
    assert sorted((tmp_path / "cache").iterdir()) and not (tmp_path / "run" / "teacher_cache").exists()
    printed = capsys.readouterr().out
    assert f"{made} teacher, 0 solution, {none} none" in printed and str(tmp_path / "cache") in printed
    plain = command_line(models, source, tmp_path / "plain", teacher="self", fallback="drop")
    references.main(plain)
    assert read_json(tmp_path / "plain" / "record.json")["cache"] is None and not (tmp_path / "plain" / "teacher_cache").exists()


def test_a_training_says_what_it_reads() -> None:
    training = DistillConfig(candidates=5, fallback="drop", teacher_statistics="topk", top_k=9, loss_temperature=2.0, steps=7, seed=4)
    config = references_for(training, out="there", cache="statistics")
    assert (config.candidates, config.fallback, config.seed, config.student) == (5, "drop", 4, training.student)
    assert (config.teacher_statistics, config.top_k, config.loss_temperature, config.cache) == ("topk", 9, 2.0, "statistics")
    for live in (DistillConfig(teacher_statistics="live"), DistillConfig(teacher="self", teacher_update="ema")):
        assert (references_for(live, cache="statistics").teacher_statistics, references_for(live, cache="statistics").cache) == (
            "none",
            None,
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": 0}, "--candidates 0 must be at least 1"),
        ({"temperature": 0}, "--temperature 0.0 must be positive and finite"),
        ({"top-k": 0}, "--top-k 0 must be at least 1"),
        ({"loss-temperature": -1}, "--loss-temperature -1.0 must be positive and finite"),
        ({"fallback": "skip"}, "--fallback skip is not known; known: solution, drop"),
        ({"teacher-statistics": "live"}, "--teacher-statistics live is not known; known: none, auto, exact, topk"),
        ({"cache": "somewhere"}, "--cache has no effect with --teacher-statistics none"),
        ({"max-new-tokens": 150}, "problems are too long for the model"),
        ({"teacher": "/no/such/folder"}, "'/no/such/folder' is no folder"),
    ],
)
def test_bad_options_are_refused_in_one_line(options: dict[str, Any], message: str, models: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        references.main(command_line(models, source, tmp_path / "out", **options))
    assert message in str(caught.value) and "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_problem_without_the_solution_that_the_teacher_reads_is_named(models: Path, tmp_path: Path) -> None:
    content = [{**row, "solution": None} if row["id"] == "sum07" else row for row in rows()]
    path = write_problems(tmp_path / "bare.jsonl", content)
    with pytest.raises(UserError, match="problem 'sum07' has no expert solution, which --teacher-prompt privileged needs"):
        references.main(command_line(models, path, tmp_path / "out"))
    references.main(command_line(models, path, tmp_path / "out", **{"teacher-prompt": "plain", "fallback": "drop"}))
    assert read_json(tmp_path / "out" / "record.json")["references"]["none"] > 0


def test_a_reference_longer_than_a_context_is_named_before_the_teacher_reads_any(models: Path, tmp_path: Path) -> None:
    content = [{**row, "solution": 200 * "1+1=2\n" + row["solution"]} for row in rows()]
    path = write_problems(tmp_path / "long.jsonl", content)
    with pytest.raises(UserError, match=r"problem 'sum..': prompt of .* exceed the model's context of 160"):
        references.main(command_line(models, path, tmp_path / "out", **{"teacher-prompt": "plain", "teacher-statistics": "exact"}))
    assert not (tmp_path / "out" / "teacher_cache").exists()


def test_the_defaults_are_those_of_the_training_that_reads_them() -> None:
    assert references_for(DistillConfig(teacher_statistics="live")) == ReferencesConfig()
