"""`python -m paced_exp.distill` on tiny random models: a finished record, the same weights after kills, two processes, one line for bad input."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import paced_exp.distill as distill
from paced_exp import snr_probe
from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.core.run_folder import RunFolder
from paced_exp.evaluation.card_parts import CARD
from paced_exp.grading import grader as grading
from paced_exp.training.config import DistillConfig
from paced_exp.training.model_card import card
from paced_exp.training.run import evaluation_config
from tests.support import children
from tests.support.distill_setup import PROBLEMS, arguments, rows, save_models, write_problems
from tests.support.graders import HashGrader

pytestmark = pytest.mark.usefixtures("one_thread", "hash_grader")

TWO_STAGES = {"stages": "forward_kl:0.5,reverse_kl:0.5", "steps": 8, "rollout-every": 3, "teacher-statistics": "exact"}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def whole(models: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-stage run that nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "Grader", HashGrader)
        distill.main(arguments(models, source, out, **TWO_STAGES))
    return out


def test_the_record(whole: Path, models: Path) -> None:
    record = read_json(whole / "record.json")
    assert [(segment["start"], segment["end"], segment["stage"]) for segment in record["segments"]] == [
        (0, 4, "forward_kl@references"),
        (4, 8, "reverse_kl@rollouts"),
    ]
    first = record["segments"][0]
    assert 0 < first["pass_rate"] < 1 and first["problems"] == PROBLEMS and first["dropped"] == record["weights"]["dropped"] > 0
    assert sum(record["references"].values()) == PROBLEMS - first["dropped"]
    chosen = pd.read_parquet(whole / "references.parquet")
    assert chosen["origin"].value_counts().to_dict() == {name: count for name, count in record["references"].items() if count}
    assert (chosen["candidates"] == 2).all() and ((chosen["correct"] > 0) == (chosen["origin"] == "teacher")).all()
    # Two times 4 rollouts a problem for pass rates, and 8 an update of the second stage.
    assert record["training"]["rollouts"]["responses"] == 2 * 4 * PROBLEMS + 8 * 4
    assert record["training"]["updates"] == 8 and record["training"]["flops"] > record["training"]["cache_flops"] > 0
    assert record["cache"]["entries"] >= PROBLEMS - first["dropped"]
    assert record["cache"]["error"]["largest_nats"] < 1e-5
    assert set(record["seconds"]) == {"pass rates", "references and training", "evaluation"}
    before = load_file(models / "student" / "model.safetensors")
    after = weights_of(whole)
    assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name]) for name in before)


def test_kills_at_any_point_change_no_bit_of_the_weights(whole: Path, models: Path, source: Path, tmp_path: Path) -> None:
    argv = arguments(models, source, tmp_path / "killed", **TWO_STAGES)
    done = children.run("-m", "tests.support.kill_distill", 11, *argv)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / "killed" / "record.json").exists()
    distill.main(argv)
    expected, found = weights_of(whole), weights_of(tmp_path / "killed")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / "training" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 9))


SHARDED = {**TWO_STAGES, "loss": "dense"}  # the fused loss reads the head in one piece


def in_two_processes(argv: list[str], *further: str) -> None:
    done = children.run("-m", "tests.support.two_processes", *argv, *further)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def two(models: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in two processes."""
    out = tmp_path_factory.mktemp("runs") / "two"
    in_two_processes(arguments(models, source, out, **TWO_STAGES))
    return out


@pytest.fixture(scope="module")
def sharded(models: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by two processes that have a part of the student each."""
    out = tmp_path_factory.mktemp("runs") / "sharded"
    in_two_processes(arguments(models, source, out, **SHARDED), "--sharded")
    return out


def files_of(folder: Path) -> set[str]:
    """Names of all files; a random state, which transformers' Trainer writes for each process, once."""
    return {re.sub(r"rng_state_\d", "rng_state", str(path.relative_to(folder))) for path in folder.rglob("*") if path.is_file()}


def test_two_processes_train_as_one_and_the_main_one_alone_writes(whole: Path, two: Path) -> None:
    expected, found = weights_of(whole), weights_of(two)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-5)
    assert files_of(two) == files_of(whole)
    for name in ("pass_rates.parquet", "references.parquet"):  # made before the first update, so equal to the last bit
        assert (two / name).read_bytes() == (whole / name).read_bytes()
    lines = [(folder / "training" / "metrics.jsonl").read_text().splitlines() for folder in (whole, two)]
    assert len(lines[0]) == len(lines[1]) == 8


def test_a_sharded_student_trains_as_a_whole_one_and_the_main_process_alone_writes(whole: Path, sharded: Path) -> None:
    """Rollouts between updates and a second stage's pass rates among it, which are sampled from a whole copy of the sharded student."""
    expected, found = weights_of(whole), weights_of(sharded)
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-5)
    shards = {path.relative_to(sharded) for path in sharded.rglob("pytorch_model_fsdp.bin")}
    assert shards == {Path("training") / f"checkpoint-{step}" / "pytorch_model_fsdp.bin" for step in (6, 8)}
    assert len((sharded / "training" / "metrics.jsonl").read_text().splitlines()) == 8
    for name in ("pass_rates.parquet", "references.parquet"):
        assert (sharded / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("unbroken", "options", "further"), [("two", TWO_STAGES, []), ("sharded", SHARDED, ["--sharded"])], ids=["whole", "sharded"]
)
def test_two_killed_processes_go_on_to_the_same_bits(
    unbroken: str, options: dict[str, Any], further: list[str], models: Path, source: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole: Path = request.getfixturevalue(unbroken)
    argv = arguments(models, source, tmp_path / "killed", **options)
    killed = children.run("-m", "tests.support.two_processes", *argv, *further, "--kill-at", "5")
    assert killed.returncode != 0 and not (tmp_path / "killed" / "record.json").exists()
    in_two_processes(argv, *further)
    expected, found = weights_of(whole), weights_of(tmp_path / "killed")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert files_of(tmp_path / "killed") == files_of(whole)


def test_a_finished_run_is_read_back(whole: Path, models: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (whole / "record.json").read_bytes()
    assert (whole / "model" / CARD).read_text() == card(read_json(whole / "record.json"))
    (whole / "model" / CARD).unlink()
    distill.main(arguments(models, source, whole, **TWO_STAGES))
    assert (whole / "record.json").read_bytes() == before and (whole / "model" / CARD).exists()
    assert "8 updates of 8 problems" in capsys.readouterr().out


def test_a_card_left_by_a_lost_record_is_no_damage(whole: Path, models: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = (whole / "model" / "model.safetensors").stat().st_mtime_ns
    (whole / "record.json").unlink()
    distill.main(arguments(models, source, whole, **TWO_STAGES))
    assert "damaged" not in capsys.readouterr().err
    assert (whole / "model" / "model.safetensors").stat().st_mtime_ns == written and (whole / "model" / CARD).exists()


def test_other_hyper_parameters_are_refused(whole: Path, models: Path, source: Path) -> None:
    with pytest.raises(UserError, match=r"differing: learning_rate \(0.001 there, 0.1 now\)"):
        distill.main(arguments(models, source, whole, **TWO_STAGES, **{"learning-rate": 0.1}))


def test_problems_that_changed_since_the_run_began_are_refused(models: Path, tmp_path: Path) -> None:
    path = write_problems(tmp_path / "sums.jsonl", [{**row, "solution": 200 * "1+1=2\n" + row["solution"]} for row in rows()])
    argv = arguments(models, path, tmp_path / "out", reference="solution", method="uniform", **{"teacher-prompt": "plain"})
    assert "exceed the model's context" in refused(argv)
    write_problems(path)
    assert "holds a run begun before the problems changed" in refused(argv)


def test_pass_rates_and_references_of_another_run_are_taken(whole: Path, models: Path, source: Path, tmp_path: Path) -> None:
    shared = {"pass-rates": whole / "pass_rates.parquet", "references": whole, "cache": whole / "teacher_cache", "steps": 2}
    argv = arguments(models, source, tmp_path / "again", **shared)
    distill.main(argv)
    assert not list((tmp_path / "again").glob("*.jsonl"))
    with pytest.raises(UserError, match=r"other references; differing: candidates \(2 there, 3 wanted\)"):
        distill.main(arguments(models, source, tmp_path / "other", **shared, candidates=3))
    with pytest.raises(UserError, match=r"holds pass rates of other rollouts; differing: temperature \(1.0 there, 0.5 wanted\)"):
        distill.main(arguments(models, source, tmp_path / "third", **shared, temperature=0.5))


def test_dropped_problems_make_an_epoch_shorter(models: Path, source: Path, tmp_path: Path) -> None:
    updates = {}
    for method in ("uniform", "hard_filter"):
        argv = arguments(models, source, tmp_path / method, method=method, reference="solution", **{"teacher-statistics": "live"})
        where = argv.index("--steps")
        distill.main([*argv[:where], *argv[where + 2 :], "--epochs", "1"])
        record = read_json(tmp_path / method / "record.json")
        kept = PROBLEMS - record["weights"]["dropped"]
        updates[method] = record["training"]["updates"]
        assert updates[method] == -(-kept // 8)
    assert updates["hard_filter"] < updates["uniform"] == 5


def test_evaluation_follows_training(models: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    options = {
        "evaluate": source,
        "retention": source,
        "samples": 2,
        "steps": 1,
        "reference": "solution",
        "teacher": "self",
        "method": "uniform",
    }
    distill.main(arguments(models, source, out, **options))
    evaluation = read_json(out / "record.json")["evaluation"]
    assert evaluation["sources"][0]["problems"] == PROBLEMS
    assert evaluation["against"]["model"] == str(models / "student")
    (forgotten,) = evaluation["against"]["forgetting"]
    assert forgotten["drop"]["value"] == -evaluation["against"]["differences"][0]["mean"]["value"]
    assert "paired differences to" in capsys.readouterr().out


def refused(argv: list[str]) -> str:
    with pytest.raises(UserError) as caught:
        distill.main(argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "pace"}, "--method pace is not known; known: uniform, paced, hard_filter, gaussian, grpo"),
        ({"stages": "forward_kl:0.5,reverse_kl:0.4"}, "the fractions must sum to 1, got 0.9"),
        ({"micro-batch": 3}, "--micro-batch 3 must divide --batch 8"),
        ({"supervise": "half"}, "--supervise half is not known; known: all, steps, answer, first:F"),
        ({"teacher-update": "live"}, "--teacher-update live only applies to --teacher self"),
        ({"weight-by": "luck"}, "--weight-by luck is not known; known: loss, sampling"),
        ({"learning-rate": 0}, "--learning-rate 0.0 must be positive and finite"),
        ({"steps": 0}, "--steps 0 must be at least 1"),
        ({"K": 0}, "-K 0 must be at least 1"),
        ({"recompute": "often"}, "--recompute often is not known"),
        ({"loss-temperature": 0}, "--loss-temperature 0.0 must be positive"),
        ({"ema-decay": 1}, "--ema-decay 1.0 must be at least 0 and below 1"),
        ({"pass-rates": "nowhere.parquet"}, "nowhere.parquet does not exist"),
        ({"references": "nowhere"}, "--references nowhere has no references.json"),
        ({"epochs": 2}, "--steps 6 and --epochs 2 both say how long to train; give one of them"),
        ({"report-to": "paper"}, "--report-to paper is not known; known: none, tensorboard, wandb, trackio"),
    ],
)
def test_bad_options_are_refused_in_one_line(options: dict[str, Any], message: str, models: Path, source: Path, tmp_path: Path) -> None:
    assert message in refused(arguments(models, source, tmp_path / "out", **options))


def test_a_problem_without_a_solution_is_named_where_one_is_needed(models: Path, tmp_path: Path) -> None:
    content = [{**row, "solution": None} if row["id"] == "sum07" else row for row in rows()]
    path = write_problems(tmp_path / "bare.jsonl", content)
    for number, options in enumerate(({"reference": "solution"}, {"stages": "reverse_kl"})):
        assert "problem 'sum07' has no expert solution" in refused(
            arguments(models, path, tmp_path / str(number), method="uniform", batch=40, **{"micro-batch": 40}, **options)
        )


def test_counts_of_ones_own_weigh_as_pass_rates_do(whole: Path, models: Path, source: Path, tmp_path: Path) -> None:
    rates = pd.read_parquet(whole / "pass_rates.parquet")
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps({"problem_id": r.problem_id, "k": int(r.k), "K": int(r.K)}) + "\n" for r in rates.itertuples()))
    for name, path in (("theirs", whole / "pass_rates.parquet"), ("mine", mine)):
        distill.main(arguments(models, source, tmp_path / name, **{"pass-rates": path, "steps": 2}))
    theirs, ours = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("theirs", "mine"))
    assert all((theirs[name] == ours[name]).all() for name in ours)
    mine.write_text(mine.read_text().split("\n", 1)[1])
    assert "lacks 1 of the 40 problems" in refused(arguments(models, source, tmp_path / "fewer", **{"pass-rates": mine, "steps": 2}))


def test_problems_published_without_solutions(models: Path, tmp_path: Path) -> None:
    """DAPO's layout: refused before any rollout while the teacher is to read a solution or to be stood in for by one; else it runs."""
    content = [
        {"prompt": row["prompt"], "reward_model": {"ground_truth": row["answer"]}, "extra_info": {"index": row["id"]}} for row in rows()
    ]
    path = write_problems(tmp_path / "dapo.jsonl", content)
    out = tmp_path / "out"
    for options, needs in (({}, "--teacher-prompt privileged"), ({"teacher-prompt": "plain"}, "--fallback solution")):
        assert f"which {needs} needs; give a source with a solution column" in refused(arguments(models, path, out, **options))
        assert not out.exists()
    unaided = {"teacher-prompt": "plain", "fallback": "drop"}
    distill.main(arguments(models, path, out, **unaided))
    assert read_json(out / "record.json")["references"]["teacher"] > 0
    self_taught = arguments(models, path, tmp_path / "self", teacher="self", stages="reverse_kl", **unaided)
    distill.main(self_taught)
    probed = ["--K=2", "--bins=3", "--per-bin=3", "--max-problems=40", "--max-new-tokens=12", "--replicates=100", "--candidates=4"]
    places = [f"--student={models / 'student'}", f"--teacher={models / 'teacher'}", f"--problems={path}"]
    snr_probe.main([*places, *probed, f"--out={tmp_path / 'probe'}", "--teacher-prompt=plain", "--fallback=drop"])
    assert read_json(tmp_path / "probe" / "record.json")["references"]["teacher"] > 0


def test_a_reference_longer_than_the_context_is_named_before_any_update(models: Path, tmp_path: Path) -> None:
    content = [{**row, "solution": 200 * "1+1=2\n" + row["solution"]} if row["id"] == "sum31" else row for row in rows()]
    path = write_problems(tmp_path / "long.jsonl", content)
    message = refused(arguments(models, path, tmp_path / "out", method="uniform", reference="solution", **{"teacher-prompt": "plain"}))
    assert "problem 'sum31': prompt of" in message and "exceed the model's context of 160" in message
    assert not (tmp_path / "out" / "training" / "metrics.jsonl").read_text()


def test_a_rollout_that_could_outgrow_the_teachers_context_is_named_before_any_update(models: Path, tmp_path: Path) -> None:
    content = [{**row, "solution": 23 * "1+1=2\n" + row["solution"]} if row["id"] == "sum31" else row for row in rows()]
    path = write_problems(tmp_path / "long.jsonl", content)
    message = refused(arguments(models, path, tmp_path / "out", method="uniform", stages="reverse_kl"))
    assert "1 of 40 problems are too long for the model, the first is problem 'sum31'" in message and "in a context of 160" in message
    assert not (tmp_path / "out").exists()


def test_a_tracker_that_is_not_installed_is_named(models: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paced_exp.training.options.find_spec", lambda name: None)
    message = refused(arguments(models, source, tmp_path / "out", **{"report-to": "wandb"}))
    assert message == "--report-to wandb needs a package that is not installed: pip install wandb"


def test_an_evaluation_that_cannot_be_is_refused_before_training(models: Path, source: Path, tmp_path: Path) -> None:
    assert "no such file" in refused(arguments(models, source, tmp_path / "out", evaluate="nowhere.jsonl"))
    assert not (tmp_path / "out").exists()


def test_columns_are_of_files_and_not_of_the_labs_evaluation(tmp_path: Path) -> None:
    columns = {"prompt": "question"}
    for evaluated, expected in (("lab:mid, lab:hard-a", None), ("mine.jsonl", columns), ("lab:mid,mine.jsonl", columns)):
        config = DistillConfig(columns=columns, evaluate=evaluated, out=str(tmp_path))
        found = evaluation_config(config, RunFolder(tmp_path, config))
        assert found is not None and (found.columns, found.problems) == (expected, evaluated)
    half = dataclasses.replace(config, dtype="bfloat16")
    found = evaluation_config(half, RunFolder(tmp_path, half))
    assert found is not None and found.dtype == "bfloat16"


def test_all_weights_zero_is_refused(models: Path, source: Path, tmp_path: Path) -> None:
    message = refused(arguments(models, source, tmp_path / "out", method="hard_filter", lo=0.9, hi=0.95))
    assert "all 40 problems have weight zero" in message


def test_a_teacher_with_another_end_of_sequence_is_refused(models: Path, source: Path, tmp_path: Path) -> None:
    other = save_models(tmp_path)
    settings = json.loads((other / "teacher" / "tokenizer_config.json").read_text())
    (other / "teacher" / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": "<end>"}))
    message = refused(arguments(models, source, tmp_path / "out", teacher=other / "teacher"))
    assert "end their responses with different tokens" in message


def test_the_configuration_in_the_folder_repeats_the_run(whole: Path) -> None:
    again = configs.parse(DistillConfig, ["--config", str(whole / "config.yaml")], "test", "test")
    assert configs.to_yaml(again) == (whole / "config.yaml").read_text()


def test_bad_input_on_the_command_line_exits_2_without_a_traceback(models: Path, source: Path, tmp_path: Path) -> None:
    argv = arguments(models, source, tmp_path / "out", method="pace")
    command = [sys.executable, "-m", "paced_exp.distill", *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --method pace is not known") and done.stderr.count("\n") == 1
