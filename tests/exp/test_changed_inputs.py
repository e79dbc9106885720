"""Commands on tiny models: a finished run whose problems, student or evaluation changed is not read back as if it were of the new ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paced_exp import compress, distill, evaluate, references, rollout
from paced_exp.core.errors import UserError, exit_cleanly
from tests.support.distill_setup import arguments, rows, save_models, write_problems
from tests.support.tiny_models import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread", "hash_grader")

FEW = rows()[:8]
ROLLOUT = ("student", "problems", "K", "max-new-tokens", "device", "seed")
REFERENCES = ("student", "teacher", "problems", "max-new-tokens", "device", "seed")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return save_models(tmp_path / "models")


def options(models: Path, source: Path, out: Path, names: tuple[str, ...] | None = None, **changes: Any) -> list[str]:
    """Of `arguments`, those that are in `names`, with `out`."""
    pairs = iter(arguments(models, source, out, steps=2, **changes))
    return [
        text
        for flag, value in zip(pairs, pairs, strict=True)
        if names is None or flag.lstrip("-") in (*names, "out")
        for text in (flag, value)
    ]


def commands(models: Path, source: Path, out: Path) -> dict[str, Callable[[], None]]:
    """Each with its arguments."""
    sampling = ["--max-new-tokens", "12", "--device", "cpu", "--out", str(out)]
    return {
        "rollout": lambda: rollout.main(options(models, source, out, ROLLOUT)),
        "references": lambda: references.main([*options(models, source, out, REFERENCES), "--teacher-statistics", "none"]),
        "distill": lambda: distill.main(options(models, source, out, evaluate=source, samples=1)),
        "evaluate": lambda: evaluate.main(["--model", str(models / "student"), "--problems", str(source), "--samples", "2", *sampling]),
        "compress": lambda: compress.main(
            ["--model", str(models / "student"), "--evaluate", str(source), "--samples", "1", "--methods", "int8", *sampling]
        ),
    }


def change_a_problem(models: Path, source: Path) -> None:
    write_problems(source, [{**row, "answer": "7"} for row in FEW])


def train_the_student(models: Path, source: Path) -> None:
    tiny_model("qwen3", seed=5, context=160).save_pretrained(models / "student")


def end_otherwise(models: Path, source: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<end>"
    tokenizer.save_pretrained(models / "student")


@pytest.mark.parametrize("command", ["rollout", "references", "distill", "evaluate", "compress"])
def test_a_changed_file_is_refused_in_one_line_and_a_missing_one_is_not(
    command: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_problems(tmp_path / "sums.jsonl", FEW), tmp_path / "run"
    run = commands(models, source, out)[command]
    run()
    kept = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "README.md"}
    written = capsys.readouterr().out
    run()
    assert capsys.readouterr().out == written

    flag = "--evaluate" if command == "compress" else "--problems"
    model = "--model" if command in ("evaluate", "compress") else "--student"
    student = shutil.copytree(models / "student", tmp_path / "student")
    for change, named in (
        (change_a_problem, f"{flag} {source}"),
        (train_the_student, f"{model} {models / 'student' / 'model.safetensors'}"),
        (end_otherwise, f"{model} {models / 'student'}/tokenizer"),
    ):
        change(models, source)
        capsys.readouterr()  # transformers' bar
        with pytest.raises(SystemExit) as caught:
            exit_cleanly(run)
        error = capsys.readouterr().err
        assert caught.value.code == 2 and error.count("\n") == 1, error
        assert f"--out {out} holds a run that was finished before {named}" in error and "name another folder, or delete this one" in error
        write_problems(source, FEW)
        shutil.copytree(student, models / "student", dirs_exist_ok=True)
        run()
        assert capsys.readouterr().out == written, "the former content is the run's own again"

    shutil.rmtree(models)
    source.unlink()
    run()
    assert capsys.readouterr().out == written, "a finished run is read back without its models and problems"
    assert {path: path.read_bytes() for path in kept} == kept


def test_an_evaluation_that_failed_after_training_goes_on_with_the_mended_file(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, later = write_problems(tmp_path / "sums.jsonl", FEW), write_problems(tmp_path / "later.jsonl", FEW)
    argv = options(models, source, tmp_path / "run", evaluate=later, samples=1)
    with monkeypatch.context() as patched:
        patched.setattr("paced_exp.training.run.evaluate_run", lambda *_: (_ for _ in ()).throw(UserError("stopped")))
        with pytest.raises(UserError, match="stopped"):
            distill.main(argv)
    write_problems(later, FEW[:4])
    distill.main(argv)
    assert json.loads((tmp_path / "run" / "record.json").read_text())["evaluation"]["sources"][0]["problems"] == 4
    distill.main(argv)
    write_problems(later, FEW[:5])
    with pytest.raises(UserError, match=r"finished before --evaluate .*later\.jsonl changed"):
        distill.main(argv)
