"""`python -m paced_exp.rollout` on a tiny model: files, resumption after SIGKILL, summary, one line for every bad input."""

import hashlib
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from paced_exp import rollout
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.data.sources import load_problems
from paced_exp.grading import grader as grading
from paced_exp.models.loading import load_model
from paced_exp.rollouts import run as rollouts_run
from paced_exp.rollouts import summary as rollouts_summary
from paced_exp.rollouts.collect import collect
from paced_exp.rollouts.config import RolloutConfig
from paced_exp.rollouts.engine import Sampling, rollout_seed
from paced_exp.rollouts.hf import HFEngine
from paced_exp.rollouts.pass_rates import Fingerprint, pass_rates, read_pass_rates
from paced_exp.rollouts.store import ChunkStore
from tests.support import children
from tests.support.graders import LengthGrader
from tests.support.tiny_models import save_tiny

PROBLEMS = 30


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "student")


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("problems") / "sums.jsonl"
    rows = [{"id": f"sum{i:02}", "prompt": f"{i}+{i * i}=", "answer": str(i + i * i), "grader": "exact"} for i in range(PROBLEMS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def length_grader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "Grader", LengthGrader)


def arguments(student_path: Path, problems_path: Path, out: Path, **changes: Any) -> list[str]:
    options = {
        "student": student_path,
        "problems": problems_path,
        "K": 4,
        "max-new-tokens": 12,
        "device": "cpu",
        "seed": 5,
        "out": out,
        **changes,
    }
    return [text for name, value in options.items() for text in ((f"-{name}" if name == "K" else f"--{name}"), str(value))]


@pytest.mark.usefixtures("length_grader")
def test_a_run_writes_what_its_rollouts_say(student: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    rollout.main(arguments(student, problems, out))
    rollouts = pd.read_parquet(out / "rollouts.parquet")
    ids = [f"sum{index:02}" for index in range(PROBLEMS)]
    assert rollouts["problem_id"].tolist() == [name for name in ids for _ in range(4)]
    assert rollouts["sample"].tolist() == [0, 1, 2, 3] * PROBLEMS
    assert rollouts["seed"].tolist() == [rollout_seed(5, name, sample) for name in ids for sample in range(4)]
    model = load_model(str(student), device="cpu")
    for row in rollouts.to_dict("records"):
        assert row["finished"] == (row["token_ids"][-1] in model.eos_ids) and (row["finished"] or len(row["token_ids"]) == 12)
        assert row["response"] == model.tokenizer.decode(row["token_ids"], skip_special_tokens=True)
        assert row["correct"] == (row["finished"] and len(row["response"]) % 2 == 0)
    assert 0 < rollouts["correct"].mean() < 1 and 0 < rollouts["finished"].mean() < 1

    rates = read_pass_rates(out / "pass_rates.parquet", Fingerprint.of(model, temperature=1.0, max_new_tokens=12))
    pd.testing.assert_frame_equal(rates, pass_rates(rollouts))
    prompts = [json.loads(line)["prompt"] for line in problems.read_text().splitlines()]
    hashes = [f"sha256:{hashlib.sha256(prompt.encode()).hexdigest()[:16]}" for prompt in prompts]
    assert pd.read_parquet(out / "pass_rates.parquet")["prompt_hash"].tolist() == hashes
    assert load_problems(str(out / "problems.parquet")) == load_problems(str(problems))

    record = json.loads((out / "record.json").read_text())
    assert record["session"]["rollouts"] == 4 * PROBLEMS and record["session"]["tokens"] == rollouts["token_ids"].map(len).sum()
    assert record["session"]["start_seconds"] == 0 < record["session"]["seconds"]
    assert sum(record["fifths"].values()) == PROBLEMS
    captured = capsys.readouterr()
    assert (
        f"{rates['p_hat'].mean():.3f}" in captured.out and "rollouts/s" in captured.out and str(out / "pass_rates.parquet") in captured.out
    )
    assert f"{4 * PROBLEMS}/{4 * PROBLEMS}" in captured.err

    # A finished run answers from its files.
    (out / "rollouts.parquet").unlink()
    rollout.main(arguments(student, problems, out))
    assert capsys.readouterr().out == captured.out


@pytest.mark.usefixtures("length_grader")
def test_killed_with_sigkill_the_run_ends_with_the_same_files(student: Path, problems: Path, tmp_path: Path) -> None:
    # A small budget makes many chunks, so that kills fall between and inside them; float64 keeps rounding out of the comparison.
    changes = {"K": 6, "max-new-tokens": 40, "max_batch_tokens": 700, "dtype": "float64"}
    rollout.main(arguments(student, problems, tmp_path / "whole", **changes))
    argv = arguments(student, problems, tmp_path / "killed", **changes)
    done = children.run("-m", "tests.support.kill_and_resume", 1, 6, *argv)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 4
    for name in ("rollouts.parquet", "pass_rates.parquet", "problems.parquet"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    session = json.loads((tmp_path / "killed" / "record.json").read_text())["session"]
    assert session["rollouts"] < 6 * PROBLEMS, "the last run continued, it did not begin again"


@pytest.mark.usefixtures("length_grader")
def test_changed_weights_or_problems_are_not_mixed_into_a_run(student: Path, problems: Path, tmp_path: Path) -> None:
    own_student, own_problems, out = tmp_path / "student", tmp_path / "own.jsonl", tmp_path / "run"
    save_tiny(own_student)
    own_problems.write_text(problems.read_text())
    argv = arguments(own_student, own_problems, out)
    rollout.main(argv)
    (out / "record.json").unlink()
    save_tiny(own_student, seed=1)
    with pytest.raises(UserError, match="made before the student's student changed"):
        rollout.main(argv)
    save_tiny(own_student)
    own_problems.write_text(problems.read_text().replace("2+4=", "2+5="))
    with pytest.raises(UserError, match="made before the problems or their order changed"):
        rollout.main(argv)
    with pytest.raises(UserError, match=r"another configuration; differing: K \(4 there, 5 now\)"):
        rollout.main(arguments(own_student, own_problems, out, K=5))


@pytest.mark.usefixtures("length_grader")
def test_a_full_disk_is_one_line_and_the_same_command_continues(
    student: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(student, problems, tmp_path / "run")
    rollout.main(arguments(student, problems, tmp_path / "whole"))
    capsys.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
    try:
        with pytest.raises(SystemExit) as caught:
            exit_cleanly(lambda: rollout.main(argv))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    errors = capsys.readouterr().err
    assert caught.value.code == 2 and errors.count("error: ") == 1 and "rollouts.jsonl cannot be written" in errors
    stored = ChunkStore(tmp_path / "run", "rollouts")
    assert 0 < len(stored.done_ids()) < PROBLEMS
    rollout.main(argv)
    assert (tmp_path / "run" / "rollouts.parquet").read_bytes() == (tmp_path / "whole" / "rollouts.parquet").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"K": 0}, "-K 0 must be at least 1"),
        ({"max-new-tokens": 0}, "--max-new-tokens 0 must be at least 1"),
        ({"temperature": -1}, "--temperature -1.0 must be"),
        ({"temperature": ".nan"}, "--temperature nan must be"),
        ({"temperature": "nan"}, "temperature"),
        ({"temperature": 0}, "all 4 rollouts of a problem the same"),
        ({"limit": 0}, "--limit 0 must be at least 1"),
        ({"seed": -1}, "--seed -1 must be at least 0"),
        ({"max-batch-tokens": 0}, "--max-batch-tokens 0 must be at least 1"),
        ({"max-batch-tokens": 10}, "over --max-batch-tokens 10"),
        ({"max-new-tokens": 60}, "in a context of 64"),
        ({"student": "/no/such/folder"}, "'/no/such/folder' is no folder"),
        ({"problems": "none.jsonl"}, "none.jsonl"),
        ({"dtype": "int8"}, "--dtype int8"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    student: Path, problems: Path, tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(student, problems, tmp_path / "run", **changes)
    with pytest.raises(SystemExit) as caught:
        exit_cleanly(lambda: rollout.main(argv))
    errors = capsys.readouterr().err
    assert caught.value.code == 2 and message in errors and len(errors.strip().splitlines()) == 1, errors
    assert not (tmp_path / "run").exists(), "a refused command leaves a folder"


@pytest.mark.usefixtures("length_grader")
def test_greedy_needs_and_takes_one_rollout(student: Path, problems: Path, tmp_path: Path) -> None:
    rates, _ = rollouts_run.roll_out(
        RolloutConfig(student=str(student), problems=str(problems), K=1, temperature=0.0, max_new_tokens=8, out=str(tmp_path / "run"))
    )
    assert rates["K"].tolist() == [1] * PROBLEMS


def test_the_summary_by_hand() -> None:
    rates = pd.DataFrame(
        {
            "k": [0, 1, 2, 3, 4, 5],
            "K": [5] * 6,
            "p_hat": np.arange(6) / 5,
            "truncated_share": [1.0, 0, 0, 0, 0, 0.2],
            "mean_tokens": [10.0, 4, 4, 4, 4, 4],
        }
    )
    found = rollouts_summary.summary(rates, ["lab:b", "lab:a", "lab:a", "lab:b", "lab:b", "lab:b"])
    assert list(found["fifths"].values()) == [1, 1, 1, 1, 2]
    a, b, everything = found["sources"]
    assert (a["source"], a["problems"], a["pass_rate"], a["never_passed"]) == ("lab:a", 2, pytest.approx(0.3), 0)
    assert (b["never_passed"], b["always_passed"], b["truncated_share"]) == (1, 1, pytest.approx(0.3))
    assert everything["source"] == "all" and everything["rollouts"] == 30 and everything["mean_tokens"] == pytest.approx(5.0)
    (many,) = rollouts_summary.summary(pd.concat([rates] * 4, ignore_index=True), ["lab:a"] * 24)["sources"]
    half = 2.068658 * np.std(np.tile(np.arange(6) / 5, 4), ddof=1) / np.sqrt(24)  # Student's t with 23 degrees of freedom
    assert (many["pass_rate_low"], many["pass_rate_high"]) == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))
    (failed,) = rollouts_summary.summary(rates.assign(k=0, p_hat=0.0), ["lab:a"] * 6)["sources"]
    assert (failed["pass_rate_low"], failed["pass_rate_high"]) == (0.0, pytest.approx(1 - 0.025 ** (1 / 6), abs=0.02))
    alone = rollouts_summary.summary(rates[:1], ["lab:a"])
    assert len(alone["sources"]) == 1 and alone["sources"][0]["pass_rate_low"] is None
    session = {"rollouts": 0, "tokens": 0, "seconds": 0.0, "start_seconds": 0.0}
    assert "-" in rollouts_summary.table({**alone, "session": session})
    session |= {"rollouts": 60, "tokens": 300, "seconds": 15.0}
    assert rollouts_summary.table({**alone, "session": session}).endswith("\n60 rollouts in 15.0 s: 4 rollouts/s, 20 tokens/s")
    started = rollouts_summary.table({**alone, "session": session | {"start_seconds": 9.0}})
    assert started.endswith("\n60 rollouts in 6.0 s, after 9.0 s in which the engine started: 10 rollouts/s, 50 tokens/s")


def test_a_truncated_rollout_is_not_correct(student: Path, problems: Path, tmp_path: Path) -> None:
    class Yes(LengthGrader):
        def grade(self, problems: Any, responses: list[str]) -> list[bool]:
            return [True] * len(responses)

    model, store = load_model(str(student), device="cpu"), ChunkStore(tmp_path, "rollouts")
    groups = collect(
        load_problems(str(problems)),
        model,
        HFEngine(model),
        Yes(),  # type: ignore[arg-type]
        store,
        Sampling(3, 6, temperature=1.0, seed=0),
    )
    assert store.done_ids() == set(), "nothing is generated before it is asked for"
    assert [len(group) for group in groups] == [3] * PROBLEMS
    rows = store.rows()
    assert (rows["correct"] == rows["finished"]).all() and 0 < rows["finished"].mean() < 1
