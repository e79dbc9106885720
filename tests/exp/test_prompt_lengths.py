"""Problems that are too long: found before anything is rolled out, refused with their number, or skipped and counted."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

import paced_exp.evaluate as evaluate
from paced_exp import rollout
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.data.problem import Problem
from paced_exp.data.prompt_lengths import LongPrompts
from paced_exp.data.sources import load_problems
from paced_exp.grading import grader as grading
from tests.support.graders import LengthGrader
from tests.support.tiny_models import loaded, save_tiny, tiny_model

CONTEXT, NEW = 64, 12


def sums(lengths: list[int]) -> list[Problem]:
    """Problems whose plain prompts have so many tokens: one a character, and the template's own."""
    return [Problem(f"p{number}", "1" * (length - 1), "1", "1", "s", "s", "exact") for number, length in enumerate(lengths)]


def long(skip: bool, kind: str = "plain") -> LongPrompts:
    return LongPrompts([(loaded(tiny_model(context=CONTEXT)), kind)], NEW, skip)  # type: ignore[list-item]


def test_what_fits_to_the_token_is_kept() -> None:
    kept = sums([1, 25, 26, 27, CONTEXT - NEW])
    assert long(False).listed(kept) == kept and list(long(False).streamed(kept)) == kept


def test_what_does_not_fit_is_refused_with_its_number_and_the_way_out() -> None:
    problems = sums([5, CONTEXT - NEW + 1, 6, 500])
    message = (
        "2 of 4 problems are too long for the model, the first is problem 'p1': a prompt of 53 tokens and `max_new_tokens` 12, "
        "in a context of 64; skip them with `skip_long`, or give fewer `max_new_tokens`"
    )
    with pytest.raises(UserError) as raised:
        long(False).listed(problems)
    assert str(raised.value) == message
    with pytest.raises(UserError, match=r"problem 'p1' is too long .* skip such problems with `skip_long`"):
        list(long(False).streamed(problems))


def test_skipping_is_counted_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    problems = sums([5, CONTEXT - NEW + 1, 6, 500])
    listing, stream = long(True), long(True)
    assert [problem.id for problem in listing.listed(problems)] == ["p0", "p2"]
    assert listing.skipped == ["p1", "p3"]
    assert "`skip_long`: 2 of 4 problems are skipped, the first is problem 'p1'" in capsys.readouterr().err
    endless = itertools.chain(problems, iter(lambda: problems[0], None))
    assert [problem.id for problem in itertools.islice(stream.streamed(endless), 3)] == ["p0", "p2", "p0"]
    assert stream.skipped == ["p1", "p3"]
    with pytest.raises(UserError, match="`skip_long` leaves none of 1 problems"):
        long(True).listed(problems[1:2])


def test_every_reader_is_asked() -> None:
    problems = sums([CONTEXT - NEW])
    with pytest.raises(UserError, match="1 of 1 problems"):
        long(False, "concise").listed(problems)


def test_a_model_without_a_limit_takes_all() -> None:
    found = long(False)
    del found.readers[0][0].model.config.max_position_embeddings
    assert found.listed(sums([5_000])) == sums([5_000])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setattr(grading, "Grader", LengthGrader)
    lengths = [5, 60, 7, 9, 300]
    rows = [{"id": p.id, "prompt": p.prompt, "answer": "1", "grader": "exact"} for p in sums(lengths)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return save_tiny(tmp_path / "model"), tmp_path / "sums.jsonl"


def options(**changes: Any) -> list[str]:
    return [text for name, value in {"max-new-tokens": NEW, "device": "cpu", **changes}.items() for text in (f"--{name}", str(value))]


def test_rollouts_skip_and_record_it(files: tuple[Path, Path], tmp_path: Path) -> None:
    model, problems = files
    arguments = ["-K", "2", *options(student=model, problems=problems, out=tmp_path / "run")]
    with pytest.raises(UserError, match="2 of 5 problems are too long"):
        rollout.main(arguments)
    assert not (tmp_path / "run").exists(), "what is refused leaves no folder"
    rollout.main([*arguments, "--skip-long"])
    assert read_json(tmp_path / "run" / "record.json")["skipped_long"] == 2
    assert [problem.id for problem in load_problems(str(tmp_path / "run" / "problems.parquet"))] == ["p0", "p2", "p3"]
    rollout.main([*arguments, "--skip-long", "true"])


def test_evaluation_skips_and_records_it(files: tuple[Path, Path], tmp_path: Path) -> None:
    model, problems = files
    arguments = options(model=model, problems=problems, samples=2, out=tmp_path / "run")
    with pytest.raises(UserError, match="2 of 5 problems are too long"):
        evaluate.main(arguments)
    evaluate.main(["--skip-long", *arguments])
    record = read_json(tmp_path / "run" / "record.json")
    assert (record["skipped_long"], record["sources"][0]["problems"]) == (2, 3)


def test_a_draw_says_that_it_is_one(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    load_problems(str(files[1]), limit=3, seed=7)
    assert capsys.readouterr().err == f"{files[1]}: 3 of 5 problems, drawn at random with seed 7\n"
    load_problems(str(files[1]), limit=5, seed=7)
    assert capsys.readouterr().err == ""
