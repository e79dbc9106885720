"""What a distillation reads of other runs is refused before any rollout, and its evaluation's options by their own names."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paced_exp import distill, evaluate
from paced_exp.core.errors import exit_cleanly
from paced_exp.core.json_files import read_json, write_checked
from paced_exp.data.lab import splits
from paced_exp.grading import grader as grading
from paced_exp.weights import main as weights_command
from tests.support.distill_setup import arguments, rows, write_problems
from tests.support.graders import HashGrader

pytestmark = pytest.mark.usefixtures("hash_grader")

EVALUATION = {"samples": 2, "max-new-tokens": 12, "device": "cpu"}


@pytest.fixture(scope="module")
def other(models: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished distillation `run` and a finished evaluation `base` of its student."""
    folder = tmp_path_factory.mktemp("other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "Grader", HashGrader)
        distill.main(arguments(models, source, folder / "run", steps=1))
        options = {"model": models / "student", "problems": source, "retention": source, "out": folder / "base", **EVALUATION}
        evaluate.main([f"--{name}={value}" for name, value in options.items()])
    return folder


def refused(argv: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of error of a command that ends with status 2 and leaves no folder."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        exit_cleanly(lambda: distill.main(argv))
    *notes, line = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and line.startswith("error: ") and not any("rollouts" in note for note in notes) and not out.exists()
    return line


def evaluated(models: Path, source: Path, out: Path, **changes: Any) -> list[str]:
    """A distillation with an evaluation; its pass rates would have to be rolled out first."""
    return arguments(models, source, out, **{"evaluate": source, "retention": source, "samples": 2, **changes})


def without_first_rate(run: Path) -> Path:
    rates = pd.read_parquet(run / "pass_rates.parquet")[["problem_id", "k", "K"]]
    rates[rates["problem_id"] != "sum00"].to_csv(run / "fewer.csv", index=False)
    return run / "fewer.csv"


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def damaged_rates(run: Path) -> Path:
    cut(run / "pass_rates.parquet")
    return run / "pass_rates.parquet"


def damaged_references(run: Path) -> Path:
    path = run / "references-000000.jsonl"
    path.write_text("no row\n" + path.read_text())
    return run


def headless(run: Path) -> Path:
    (run / "references.json").unlink()
    return run


@pytest.mark.parametrize(
    ("option", "spoil", "changes", "message"),
    [
        ("pass-rates", without_first_rate, {}, "lacks 1 of the 40 problems, for example 'sum00'"),
        ("pass-rates", damaged_rates, {}, "copy/pass_rates.parquet is no readable parquet file"),
        ("pass-rates", lambda run: run / "pass_rates.parquet", {"max-new-tokens": 13}, "differing: max_new_tokens (12 there, 13 wanted)"),
        ("pass-rates", lambda run: run, {}, "is a folder; give the parquet file in it"),
        ("references", lambda run: run / "none", {}, "has no references.json"),
        ("references", headless, {}, "has no references.json"),
        ("references", damaged_references, {}, "copy/references-000000.jsonl line 1 is damaged"),
        ("references", lambda run: run, {"candidates": 3}, "differing: candidates (2 there, 3 wanted)"),
        ("references", lambda run: run, {"teacher": "self"}, "holds other references; differing: teacher ("),
    ],
)
def test_pass_rates_and_references_that_will_not_do_are_refused_before_any_rollout(
    option: str,
    spoil: Callable[[Path], Path],
    changes: dict[str, Any],
    message: str,
    other: Path,
    models: Path,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = spoil(Path(shutil.copytree(other / "run", tmp_path / "copy")))
    argv = arguments(models, source, tmp_path / "out", **{option: given, **changes})
    assert message in refused(argv, tmp_path / "out", capsys)


@pytest.mark.parametrize("option", ["pass-rates", "weights"])
def test_files_made_of_other_prompts_under_the_same_ids_are_refused(
    option: str, other: Path, models: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates, weights = other / "run" / "pass_rates.parquet", tmp_path / "weights.csv"
    weights_command([str(rates), "--estimate", "posterior", "--out", str(weights)])
    given = {option: rates if option == "pass-rates" else weights}
    moved = rows()
    moved[3]["prompt"], moved[7]["prompt"] = moved[7]["prompt"], moved[3]["prompt"]
    (tmp_path / "moved").mkdir()
    argv = arguments(models, write_problems(tmp_path / "moved" / source.name, moved), tmp_path / "out", **given)
    line = f"--{option} {given[option]} was made of other prompts under the same ids for 2 of the 40 problems: 'sum03', 'sum07'; give the"
    assert line in refused(argv, tmp_path / "out", capsys)
    # What an earlier version wrote has no hashes: it is taken as it is.
    frame = (pd.read_parquet(rates) if option == "pass-rates" else pd.read_csv(weights)).drop(columns="prompt_hash")
    frame.to_csv(tmp_path / "earlier.csv", index=False)
    distill.main(arguments(models, tmp_path / "moved" / source.name, tmp_path / "out", **{option: tmp_path / "earlier.csv", "steps": 1}))


def another_record(base: Path) -> Path:
    content = read_json(base / "record.json") | {"kind": "rollout"}
    write_checked(base / "record.json", content)
    return base


def unfinished(base: Path) -> Path:
    (base / "record.json").unlink()
    return base


def damaged_record(base: Path) -> Path:
    path = base / "record.json"
    path.write_text(path.read_text().replace('"samples": 2', '"samples": 3', 1))
    return base


def damaged_scores(base: Path) -> Path:
    cut(base / "scores.parquet")
    return base


def other_scores(base: Path) -> Path:
    pd.read_parquet(base / "scores.parquet")[1:].to_parquet(base / "scores.parquet")
    return base


@pytest.mark.parametrize(
    ("spoil", "changes", "message"),
    [
        (lambda base: base / "none", {}, "is not the folder of a finished evaluation; give the --out of one, or leave the option out"),
        (unfinished, {}, "is not the folder of a finished evaluation"),
        (another_record, {}, "is not the folder of a finished evaluation"),
        (damaged_record, {}, "copy/record.json is damaged"),
        (damaged_scores, {}, "copy/scores.parquet is no readable parquet file"),
        (other_scores, {}, "--base-evaluation was evaluated on other problems or with other --samples"),
        (lambda base: base, {"samples": 1}, "was evaluated with other options; differing: --samples (2 there, 1 now)"),
        (lambda base: base, {"evaluate-limit": 9}, "differing: --evaluate-limit (None there, 9 now)"),
    ],
)
def test_a_base_evaluation_that_will_not_do_is_refused_before_any_rollout(
    spoil: Callable[[Path], Path],
    changes: dict[str, Any],
    message: str,
    other: Path,
    models: Path,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = spoil(Path(shutil.copytree(other / "base", tmp_path / "copy")))
    argv = evaluated(models, source, tmp_path / "out", **{"base-evaluation": given, **changes})
    assert message in refused(argv, tmp_path / "out", capsys)


def test_good_files_of_other_runs_are_taken(other: Path, models: Path, source: Path, tmp_path: Path) -> None:
    run, base = other / "run", other / "base"
    given = {"pass-rates": run / "pass_rates.parquet", "references": run, "base-evaluation": base, "steps": 1}
    distill.main(evaluated(models, source, tmp_path / "out", **given, **{"skip-long": "true"}))
    record = read_json(tmp_path / "out" / "record.json")
    assert record["training"]["rollouts"]["responses"] == 0 and not (tmp_path / "out" / "evaluation-against").exists()
    assert record["evaluation"]["against"]["model"] == str(models / "student")


def test_errors_of_the_evaluation_name_the_options_of_the_distillation(
    models: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = write_problems(tmp_path / "copy.jsonl", rows()[:3])
    cases: list[tuple[dict[str, Any], str]] = [
        ({"evaluate": f"{source},{source}"}, f"--evaluate names {source} twice"),
        ({"retention": "lab:mid"}, f"--retention lab:mid is not among --evaluate {source}"),
        ({"evaluate": f"{source},{copy}"}, f"problem id 'sum00' occurs in {source} and {copy}; ids must differ across --evaluate"),
        ({"evaluate": f"{source},nowhere.jsonl"}, "source 'nowhere.jsonl': no such file"),
        ({"evaluate": "lab:pool", "retention": "lab:pool", "evaluate-limit": 4}, "--evaluate-limit 4: lab:pool has 3 problems"),
    ]
    small = dataclasses.replace(splits.SPLITS["pool"], quotas={"gcd": (0, 0, 0, 2, 1)})
    monkeypatch.setitem(splits.SPLITS, "pool", small)
    for changes, message in cases:
        line = refused(evaluated(models, source, tmp_path / "out", **changes), tmp_path / "out", capsys)
        assert message in line and "--problems" not in line, line
