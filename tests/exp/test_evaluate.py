"""`python -m paced_exp.evaluate`: metrics by hand and by enumeration, intervals by coverage, pairing, re-grading, one line for bad input."""

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import paced_exp.evaluate as evaluate
from paced_exp.core.errors import UserError
from paced_exp.core.intervals import intervals
from paced_exp.core.json_files import read_json
from paced_exp.data.sources import load_problems
from paced_exp.evaluation import run as evaluation_run
from paced_exp.evaluation import table as evaluation_table
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.evaluation.metrics import pass_at_k
from paced_exp.evaluation.scores import comparison, scores, summary
from paced_exp.grading import grader as grading
from tests.support.distill_setup import PROBLEMS, rows, write_problems
from tests.support.graders import HashGrader

pytestmark = pytest.mark.usefixtures("hash_grader")

# ---- metrics


@pytest.mark.parametrize("samples", [1, 4, 6])
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(samples: int) -> None:
    for correct, k in itertools.product(range(samples + 1), range(1, samples + 1)):
        subsets = list(itertools.combinations([index < correct for index in range(samples)], k))
        expected = sum(any(subset) for subset in subsets) / len(subsets)
        assert pass_at_k(np.array([correct]), samples, k)[0] == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_pass_at_k_is_unbiased() -> None:
    # E over c ~ binomial(n, p) of the estimate is 1 - (1-p)^k, by the exact sum.
    n, k, p = 7, 3, 0.23
    mass = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    assert np.dot(mass, pass_at_k(np.arange(n + 1), n, k)) == pytest.approx(1 - (1 - p) ** k, rel=1e-12)


def test_pass_at_one_is_the_mean_and_many_samples_do_not_overflow() -> None:
    assert pass_at_k(np.array([0, 3, 8]), 8, 1).tolist() == pytest.approx([0, 3 / 8, 1])
    assert pass_at_k(np.array([1]), 20_000, 10_000)[0] == pytest.approx(0.5, rel=1e-9)
    with pytest.raises(ValueError, match=r"k must be in 1..4, got 5"):
        pass_at_k(np.array([1]), 4, 5)
    with pytest.raises(ValueError, match=r"correct must be in 0..4"):
        pass_at_k(np.array([5]), 4, 1)


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        values = rng.binomial(8, rng.beta(1, 2, size=40))[:, None] / 8
        (found,) = intervals(values, replicates=300, rng=rng)
        covered += found.low <= 1 / 3 <= found.high  # type: ignore[operator]
    assert 0.93 < covered / 1000 < 0.97


def test_intervals_are_those_of_the_normal_law_for_many_problems() -> None:
    values = np.random.default_rng(1).exponential(size=(400, 2))
    for column, found in enumerate(intervals(values, replicates=8_000, rng=np.random.default_rng(2))):
        error = values[:, column].std() / math.sqrt(400)
        assert found.value == pytest.approx(values[:, column].mean())
        assert (found.low, found.high) == (
            pytest.approx(found.value - 1.96 * error, abs=0.2 * error),
            pytest.approx(found.value + 1.96 * error, abs=0.2 * error),
        )


def test_a_column_without_spread_and_a_single_problem() -> None:
    assert intervals(np.full((5, 1), 0.1), replicates=100, rng=np.random.default_rng(0)) == [(pytest.approx(0.1), None, None)]
    assert intervals(np.array([[0.3]]), replicates=100, rng=np.random.default_rng(0)) == [(0.3, None, None)]


def table_of(correct: list[int], source: str = "a") -> pd.DataFrame:
    count = len(correct)
    columns: dict[str, Any] = {"source": source, "samples": 4, "correct": correct, "mean_tokens": 5.0, "truncated_share": 0.25}
    return pd.DataFrame({"problem_id": [f"{source}{index}" for index in range(count)], **columns})


def test_scores_are_counted_by_problem() -> None:
    rollouts = pd.DataFrame(
        {
            "problem_id": ["y", "x", "y", "x"],
            "correct": [True, False, True, True],
            "token_ids": [[1], [1, 2], [1, 2, 3], [1]],
            "finished": [True, False, True, True],
        }
    )
    found = scores(rollouts, {"x": "one", "y": "two"})
    assert found.to_dict("list") == {
        "problem_id": ["x", "y"],
        "source": ["one", "two"],
        "samples": [2, 2],
        "correct": [1, 2],
        "mean_tokens": [1.5, 2.0],
        "truncated_share": [0.5, 0.0],
    }


def test_the_comparison_is_paired() -> None:
    rng = np.random.default_rng(3)
    hard = rng.integers(0, 4, 300)
    base, better = table_of(hard.tolist()), table_of((hard + 1).tolist())
    found = comparison(better, base, longest=100, replicates=1000, seed=0, retention=[])["differences"][0]["mean"]
    # Every problem gains one sample of four: the paired difference has no spread, while each mean has plenty. What problems that were
    # not drawn may do is all that is left: a share of 1 - 0.025^(1/300) of them, of differences between -1 and 1.
    left = 1 - 0.025 ** (1 / 300)
    assert found == {
        "value": 0.25,
        "low": pytest.approx(0.25 - 1.25 * left, abs=0.004),
        "high": pytest.approx(0.25 + 0.75 * left, abs=0.004),
    }
    mean = summary(base, longest=100, replicates=1000, seed=0)[0]["mean"]
    assert mean["high"] - mean["low"] > 0.05


def test_forgetting_is_the_drop_on_retention() -> None:
    base = pd.concat([table_of([4, 4, 3, 4]), table_of([4, 4, 4, 4], "keep")], ignore_index=True)
    now = pd.concat([table_of([4, 4, 4, 4]), table_of([4, 2, 0, 2], "keep")], ignore_index=True)
    (drop,) = comparison(now, base, longest=100, replicates=1000, seed=0, retention=["keep"])["forgetting"]
    assert drop["source"] == "keep" and drop["drop"]["value"] == 0.5
    assert -1 <= drop["drop"]["low"] < 0.5 < drop["drop"]["high"] <= 1
    with pytest.raises(UserError, match="other problems or with other `samples`"):
        comparison(now, base.iloc[::-1], longest=100, replicates=100, seed=0, retention=[])


# ---- the command


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("problems")
    return [write_problems(folder / "low.jsonl", rows()[: PROBLEMS // 2]), write_problems(folder / "high.jsonl", rows()[PROBLEMS // 2 :])]


def config(models: Path, sources: list[Path], out: Path, **changes: Any) -> EvaluateConfig:
    options: dict[str, Any] = {"samples": 4, "max_new_tokens": 16, "device": "cpu", "dtype": "float64", "replicates": 500, **changes}
    return EvaluateConfig(model=str(models / "student"), problems=",".join(map(str, sources)), out=str(out), **options)


@pytest.fixture(scope="module")
def whole(models: Path, sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "Grader", HashGrader)
        evaluation_run.evaluate(config(models, sources, out))
    return out


def test_every_number_can_be_had_again_from_the_stored_samples(whole: Path, sources: list[Path]) -> None:
    record = read_json(whole / "record.json")
    problems = {problem.id: problem for problem in load_problems(str(whole / "problems.parquet"))}
    rollouts = pd.read_parquet(whole / "rollouts.parquet")
    assert [row["source"] for row in record["sources"]] == [str(path) for path in sources]
    graded = HashGrader().grade([problems[name] for name in rollouts["problem_id"]], rollouts["response"].tolist())
    correct = np.array(graded) & rollouts["finished"].to_numpy()
    for row, part in zip(record["sources"], (range(20), range(20, 40)), strict=True):
        own = rollouts["problem_id"].isin([f"sum{index:02}" for index in part]).to_numpy()
        assert row["mean"]["value"] == pytest.approx(correct[own].mean()) == pytest.approx(row["pass_at"]["1"]["value"])
        any_of = pd.Series(correct[own]).groupby(rollouts["problem_id"][own].to_numpy()).any().mean()
        assert row["pass_at"]["4"]["value"] == pytest.approx(any_of)
        assert row["tokens"]["value"] == pytest.approx(rollouts["token_ids"][own].map(len).mean())
        assert row["mean"]["low"] <= row["mean"]["value"] <= row["mean"]["high"]
        assert (row["problems"], row["samples"], set(row["pass_at"])) == (20, 4, {"1", "2", "3", "4"})


def test_a_torn_journal_is_continued_to_the_same_record(whole: Path, models: Path, sources: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "torn"
    evaluation_run.evaluate(config(models, sources, out))
    lines = (out / "rollouts.jsonl").read_bytes().splitlines(keepends=True)
    (out / "rollouts.jsonl").write_bytes(b"".join(lines[:7]) + lines[7][:30])
    (out / "record.json").unlink()
    again = evaluation_run.evaluate(config(models, sources, out))
    assert again["sources"] == read_json(whole / "record.json")["sources"]


def test_against_a_model_and_against_its_finished_evaluation_agree(whole: Path, models: Path, sources: list[Path], tmp_path: Path) -> None:
    ours = dataclasses.replace(config(models, sources, tmp_path / "a"), model=str(models / "teacher"), retention=str(sources[1]))
    by_model = evaluation_run.evaluate(dataclasses.replace(ours, against=str(models / "student")))
    by_folder = evaluation_run.evaluate(dataclasses.replace(ours, against=str(whole), out=str(tmp_path / "b")))
    assert by_model["against"] == by_folder["against"]
    base, now = read_json(whole / "record.json")["sources"], by_model["sources"]
    for row, before, after in zip(by_model["against"]["differences"], base, now, strict=True):
        assert row["mean"]["value"] == pytest.approx(after["mean"]["value"] - before["mean"]["value"])
    (drop,) = by_model["against"]["forgetting"]
    assert drop["drop"]["value"] == pytest.approx(base[1]["mean"]["value"] - now[1]["mean"]["value"])
    text = evaluation_table.table(by_model)
    assert f"forgetting on {sources[1]}" in text and "paired differences to" in text


@pytest.mark.parametrize("spelt", ["ev/", "ev//", "ev/."])
def test_the_base_lies_beside_the_folder_however_it_is_spelt(
    spelt: str, models: Path, sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = config(models, sources[:1], Path("x"), against=str(models / "student"), limit=4)
    first = evaluation_run.evaluate(dataclasses.replace(asked, out=spelt))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ev", "ev-against"]
    assert evaluation_run.evaluate(dataclasses.replace(asked, out="ev")) == first


def test_the_base_of_the_working_folder_lies_beside_it(
    models: Path, sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ev").mkdir()
    monkeypatch.chdir(tmp_path / "ev")
    evaluation_run.evaluate(dataclasses.replace(config(models, sources[:1], Path("x"), against=str(models / "student"), limit=4), out="."))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ev", "ev-against"]


def test_an_evaluation_with_other_options_is_not_compared_with(whole: Path, models: Path, sources: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluated with other options; differing: `seed` \(0 there, 1 now\)"):
        evaluation_run.evaluate(config(models, sources, tmp_path / "out", against=str(whole), seed=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "`samples` 0 must be at least 1"),
        ({"temperature": 0.0}, "`temperature` 0 makes all 4 samples of a problem the same"),
        ({"temperature": math.nan}, "`temperature` nan must be a finite number of at least 0"),
        ({"max_new_tokens": 0}, "`max_new_tokens` 0 must be at least 1"),
        ({"replicates": 10}, "`replicates` 10 must be at least 100"),
        ({"seed": -1}, "`seed` -1 must be at least 0"),
        ({"against": "no such model!"}, "is no folder and cannot be a hub id"),
    ],
)
def test_bad_options_are_refused_in_one_line(
    changes: dict[str, Any], message: str, models: Path, sources: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        evaluation_run.evaluate(config(models, sources, tmp_path / "out", **changes))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_forgetting_that_cannot_be_measured_is_said(models: Path, sources: list[Path], tmp_path: Path) -> None:
    asked = config(models, sources, tmp_path / "out", against=str(models / "student"))
    with pytest.raises(UserError, match=r"`retention` keep is not among `problems` .*; forgetting is only measured on evaluated sources"):
        evaluation_run.evaluate(dataclasses.replace(asked, retention="keep"))
    assert not (tmp_path / "out").exists()
    assert "forgetting: not measured, since `retention` names no source that is evaluated" in evaluation_table.table(
        evaluation_run.evaluate(asked)
    )


def test_a_source_named_twice_is_refused(models: Path, sources: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="twice; name every source once"):
        evaluation_run.evaluate(config(models, [sources[0], sources[0]], tmp_path / "out"))


def test_an_id_in_two_sources_is_refused(models: Path, sources: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="problem id 'sum00' occurs in"):
        evaluation_run.evaluate(config(models, [sources[0], write_problems(tmp_path / "twice.jsonl", rows()[:1])], tmp_path / "out"))


def test_the_command_prints_the_table(whole: Path, models: Path, sources: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in dataclasses.asdict(config(models, sources, whole)).items()
        if value is not None
    ]
    evaluate.main(argv)
    printed = capsys.readouterr().out
    assert "mean@4 %" in printed and f"{whole}/record.json" in printed
    assert json.loads((whole / "record.json").read_text())["kind"] == "evaluation"
