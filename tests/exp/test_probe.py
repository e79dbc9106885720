"""`python -m paced_exp.snr_probe` on tiny random models: a finished record, the same for the same seed, after kills too, one line for bad input."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from kill_probe import HashGrader
from tiny_models import tiny_model, tiny_tokenizer

from paced_exp import config as configs
from paced_exp import grading, snr_probe
from paced_exp.errors import UserError, exit_cleanly
from paced_exp.models import LoadedModel, load_model
from paced_exp.pass_rates import read_pass_rates
from paced_exp.probe import stages
from paced_exp.problems import load_problems
from paced_exp.references import read_references
from paced_exp.rollouts.store import ChunkStore

PROBLEMS, BINS, PER_BIN, K = 90, 5, 5, 4


def save(folder: Path, *, kind: str = "qwen3", seed: int = 0, context: int = 160) -> Path:
    tiny_model(kind, seed=seed, context=context).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save(folder / "student")
    save(folder / "teacher", kind="llama", seed=1)
    return folder


def rows() -> list[dict[str, Any]]:
    return [
        {"id": f"sum{i:02}", "prompt": f"{i}+{i * i}=", "answer": str(i + i * i), "solution": f"\\boxed{{{i + i * i}}}", "grader": "exact"}
        for i in range(PROBLEMS)
    ]


def write_rows(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("problems") / "sums.jsonl", rows())


@pytest.fixture(autouse=True)
def hash_grader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "Grader", HashGrader)


def arguments(models: Path, source: Path, out: Path, **changes: Any) -> list[str]:
    # float64 keeps out of the comparisons what the size of a batch does to rounding.
    options = {
        "student": models / "student",
        "teacher": models / "teacher",
        "problems": source,
        "K": K,
        "bins": BINS,
        "per-bin": PER_BIN,
        "max-new-tokens": 40,
        "batch-tokens": 150,
        "sketch-size": 512,
        "replicates": 100,
        "device": "cpu",
        "dtype": "float64",
        "seed": 5,
        "out": out,
        **changes,
    }
    return [text for name, value in options.items() for text in ((f"-{name}" if name == "K" else f"--{name}"), str(value))]


@pytest.fixture(scope="module")
def whole(models: Path, problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "Grader", HashGrader)
        snr_probe.main(arguments(models, problems, out))
    return out


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "record.json").read_text())


def comparable(folder: Path) -> dict[str, Any]:
    """The record without what time and place decide."""
    record = record_of(folder)
    assert record.pop("seconds").keys() == {"load", "rollouts", "references", "gradients", "estimates"}
    record.pop("provenance")
    record["config"].pop("out")
    return record


# ---- what a run leaves


def test_the_record_says_what_the_issue_asks_for(whole: Path) -> None:
    record = record_of(whole)
    wanted = {"pass_rate", "n", "snr", "snr_low", "snr_high", "snr_naive", "floor", "null_high"}
    assert len(record["bins"]) == BINS and all(wanted <= row.keys() for row in record["bins"])
    assert [row["pass_rate"] for row in record["bins"]] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert [row["posterior_pass_rate"] for row in record["bins"]] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert all(row["snr_low"] <= row["snr"] <= row["snr_high"] and row["floor"] == row["n"] ** -0.5 for row in record["bins"])
    assert record["fit"] is None or {"a", "a_low", "a_high", "b", "b_low", "b_high"} <= record["fit"].keys()
    assert {verdict["verdict"] for verdict in record["verdict"].values()} <= {"collapses", "does not collapse", "not decided"}
    assert record["kind"] == "snr_probe" and record["provenance"]["seed"] == 5 and record["config"]["per_bin"] == PER_BIN
    assert all(seconds > 0 for seconds in record["seconds"].values())
    assert {path.name for path in whole.iterdir()} >= {"figure2_snr.pdf", "figure2_snr.png", "config.yaml", "problems.parquet"}
    assert not [path for path in whole.rglob("*.tmp")]


def test_bins_hold_the_first_problems_of_their_pass_rate(whole: Path, problems: Path) -> None:
    record = record_of(whole)
    rollouts = ChunkStore(whole, "rollouts").rows()
    passes = rollouts.groupby("problem_id", sort=False)["correct"].sum()
    assert (rollouts.groupby("problem_id").size() == K).all()
    summary = record["rollouts"]
    assert summary["problems_drawn"] == len(passes) and summary["rollouts"] == K * len(passes)
    assert summary["offered"] == [int((passes == k).sum()) for k in range(K + 1)]
    assert summary["kept"] == [min(PER_BIN, count) for count in summary["offered"]] == [row["n"] for row in record["bins"]]
    assert summary["mean_pass_rate"] == pytest.approx(passes.mean() / K)
    rates = read_pass_rates(whole / "pass_rates.parquet", expected=None)
    assert dict(zip(rates["problem_id"], rates["k"], strict=True)) == passes.to_dict()
    assert len(pd.read_parquet(whole / "rollouts.parquet")) == len(rollouts)
    kept = load_problems(str(whole / "problems.parquet"))
    assert pd.read_parquet(whole / "references.parquet")["problem_id"].tolist() == [
        problem.id for _, problem in sorted(enumerate(kept), key=lambda pair: (passes[pair[1].id], pair[0]))
    ]
    assert len(kept) == sum(summary["kept"]) and {problem.id for problem in kept} <= {
        problem.id for problem in load_problems(str(problems))
    }
    assert record["references"]["teacher"] + record["references"]["solution"] == len(kept) and record["references"]["none"] == 0


def single_gradient(student: LoadedModel, teacher: LoadedModel, problem: Any, reference: list[int]) -> torch.Tensor:
    """One problem's gradient by the plainest means: its own forward passes, its own backward pass."""
    from paced_exp.prompts import prompt_ids

    plain, privileged = prompt_ids(student.tokenizer, problem), prompt_ids(teacher.tokenizer, problem, "privileged")
    rows_of = []
    for model, prompt in ((student.model, plain), (teacher.model, privileged)):
        rows_of.append(model(torch.tensor([prompt + reference])).logits[0, len(prompt) - 1 : -1].log_softmax(-1))
    log_s, log_t = rows_of[0], rows_of[1].detach()
    loss = (log_t.exp() * (log_t - log_s)).sum(-1).mean()
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, list(student.model.parameters()))])


def test_a_bins_estimate_is_that_of_gradients_taken_one_by_one(whole: Path, models: Path) -> None:
    student, teacher = (load_model(str(models / name), device="cpu", dtype="float64") for name in ("student", "teacher"))
    passes = ChunkStore(whole, "rollouts").rows().groupby("problem_id")["correct"].sum()
    references = read_references(ChunkStore(whole, "references"))
    members = [problem for problem in load_problems(str(whole / "problems.parquet")) if passes[problem.id] == 2]
    gradients = torch.stack([single_gradient(student, teacher, problem, references[problem.id].token_ids) for problem in members])
    row = record_of(whole)["bins"][2]
    n, total, squares = len(members), float(gradients.sum(0).square().sum()), float(gradients.square().sum())
    signal, noise = (total - squares) / (n * (n - 1)), (squares - total / n) / (n - 1)
    assert row["n"] == n and row["snr_squared"] == pytest.approx(signal / noise, rel=1e-6)
    assert row["snr_naive"] == pytest.approx(np.sqrt(total) / n / np.sqrt(noise), rel=1e-6)


def test_the_table_shows_every_bin_and_the_words_of_the_verdict(
    models: Path, problems: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    snr_probe.main(arguments(models, problems, whole))  # a finished run answers from its record
    captured = capsys.readouterr()
    assert {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()} == before and captured.err == ""
    record = record_of(whole)
    lines = captured.out.splitlines()
    for row, line in zip(record["bins"], lines[1:], strict=False):
        assert line.split()[:2] == [f"{row['pass_rate']:.3f}", str(row["n"])] and f"{row['snr']:.4f}" in line
    assert record["verdict"]["low"]["words"] in lines and record["verdict"]["high"]["words"] in lines
    assert any(line.startswith("seconds: load ") and "total" in line for line in lines)
    assert [Path(line).name for line in lines[-3:]] == ["figure2_snr.pdf", "figure2_snr.png", "figure2_snr.txt"]


# ---- the same again


def test_the_same_seed_gives_the_same_record_and_another_does_not(models: Path, problems: Path, whole: Path, tmp_path: Path) -> None:
    snr_probe.main(arguments(models, problems, tmp_path / "same"))
    assert comparable(tmp_path / "same") == comparable(whole)
    assert (tmp_path / "same" / "figure2_snr.png").read_bytes() == (whole / "figure2_snr.png").read_bytes()
    snr_probe.main(["--config", str(whole / "config.yaml"), "--out", str(tmp_path / "config")])
    assert comparable(tmp_path / "config") == comparable(whole)
    snr_probe.main(arguments(models, problems, tmp_path / "other", seed=6))
    assert [row["snr"] for row in record_of(tmp_path / "other")["bins"]] != [row["snr"] for row in record_of(whole)["bins"]]


def test_the_size_of_gradient_batches_does_not_matter(models: Path, problems: Path, whole: Path, tmp_path: Path) -> None:
    snr_probe.main(arguments(models, problems, tmp_path / "run", **{"batch-tokens": 1}))
    for one, other in zip(record_of(tmp_path / "run")["bins"], record_of(whole)["bins"], strict=True):
        assert one["snr_squared"] == pytest.approx(other["snr_squared"], rel=1e-8)


def test_killed_at_every_stage_the_run_ends_with_the_same_record(models: Path, problems: Path, whole: Path, tmp_path: Path) -> None:
    argv = arguments(models, problems, tmp_path / "killed")
    script = str(Path(__file__).parent / "kill_probe.py")
    done = subprocess.run([sys.executable, script, *argv], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "killed" / "record.json").exists()
    snr_probe.main(argv)
    assert comparable(tmp_path / "killed") == comparable(whole)
    one, other = (ChunkStore(folder, "rollouts").rows() for folder in (tmp_path / "killed", whole))
    order = ["problem_id", "sample"]
    pd.testing.assert_frame_equal(one.sort_values(order, ignore_index=True), other.sort_values(order, ignore_index=True))


def test_a_full_disk_loses_nothing(
    models: Path, problems: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(models, problems, tmp_path / "run")
    save_bin = np.savez

    def full(file: Any, **arrays: Any) -> None:
        if "bin-002" in file.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "bin-002.npz")
        save_bin(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    line = refused(lambda: snr_probe.main(argv), capsys, bars=True)
    assert line.startswith("error: the disk is full while writing bin-002.npz; free some space and run the same command again")
    assert sorted(path.name for path in (tmp_path / "run" / "gradients").iterdir()) == ["bin-000.npz", "bin-001.npz"]
    monkeypatch.setattr(np, "savez", save_bin)
    monkeypatch.setattr(stages, "HFEngine", lambda _: NoEngine())
    snr_probe.main(argv)
    assert comparable(tmp_path / "run") == comparable(whole)


class NoEngine:
    """Nothing is left to generate."""

    def generate(self, prompts: list[Any], **_: Any) -> list[Any]:
        assert prompts == []
        return []


# ---- variants


def test_fewer_problems_than_wanted_are_used_and_said(models: Path, tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", rows()[:25])
    record = snr_probe.run_probe(config_of(arguments(models, few, tmp_path / "run", **{"max-problems": 24})))
    assert record["rollouts"]["problems_drawn"] == 24 and record["rollouts"]["full"] is False
    assert sum(record["rollouts"]["offered"]) == 24
    assert [row["n"] for row in record["bins"]] == [count for count in record["rollouts"]["kept"] if count >= 3]


def config_of(argv: list[str]) -> snr_probe.ProbeConfig:
    return configs.parse(snr_probe.ProbeConfig, argv, "paced_exp.snr_probe", "Probe.")


@pytest.mark.parametrize("divergence", ["reverse_kl", "cross_entropy"])
def test_other_divergences(divergence: str, models: Path, problems: Path, whole: Path, tmp_path: Path) -> None:
    record = snr_probe.run_probe(config_of(arguments(models, problems, tmp_path / "run", divergence=divergence)))
    assert [row["n"] for row in record["bins"]] == [row["n"] for row in record_of(whole)["bins"]]
    assert [row["snr"] for row in record["bins"]] != [row["snr"] for row in record_of(whole)["bins"]]


def test_problems_without_a_reference_drop_out_of_their_bin(
    models: Path, problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Never(HashGrader):
        """Passes no candidate of the teacher's for some problems: those that hold a 7."""

        def grade(self, problems: list[Any], responses: list[str]) -> list[bool]:
            student = len(responses) == K
            return [passed and (student or "7" not in problems[0].prompt) for passed in super().grade(problems, responses)]

    monkeypatch.setattr(grading, "Grader", Never)
    changes = {"fallback": "drop", "candidates": 9, "bins": 2, "per-bin": 15}
    record = snr_probe.run_probe(config_of(arguments(models, problems, tmp_path / "run", **changes)))
    references = read_references(ChunkStore(tmp_path / "run", "references"))
    passes = ChunkStore(tmp_path / "run", "rollouts").rows().groupby("problem_id")["correct"].sum()
    assert record["references"]["none"] > 0 and record["references"]["solution"] == 0
    for low, row in zip((True, False), record["bins"], strict=True):
        used = [passes[name] for name, reference in references.items() if reference.token_ids and (passes[name] < K / 2) == low]
        assert row["n"] == len(used) and row["pass_rate"] == pytest.approx(np.mean(used) / K), "of the problems whose gradients were taken"


# ---- bad input


def refused(main: Callable[[], None], capsys: pytest.CaptureFixture[str], *, bars: bool = False) -> str:
    """The one line on stderr with which `main` ends with status 2 (behind what progress bars wrote, where some stages had run)."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        exit_cleanly(main)
    captured = capsys.readouterr()
    assert stopped.value.code == 2 and captured.out == ""
    lines = captured.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and lines[-1] == errors[0] and (bars or len(lines) == 1), captured.err
    return errors[0]


def spoilt_rows(**changes: Any) -> list[dict[str, Any]]:
    """Good rows, the fourth one changed; a change to None removes the column."""
    content = rows()
    content[3] = {key: value for key, value in {**content[3], **changes}.items() if value is not None}
    return content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"K": 0}, "-K 0 must be at least 1"),
        ({"bins": 1}, "--bins 1 must be at least 2"),
        ({"per-bin": 1}, "--per-bin 1 must be at least"),
        ({"problems": "missing.jsonl"}, "missing.jsonl"),
        ({"problems": "lab:nowhere"}, "lab:nowhere is not a lab split"),
        ({"student": "no-such-folder/x/y"}, "no-such-folder/x/y"),
        ({"teacher": "lab:professor"}, "lab:professor is not a lab model"),
        ({"dtype": "int4"}, "--dtype int4 is not known"),
        ({"device": "tpu"}, "--device tpu is not known"),
        ({"divergence": "jeffreys"}, "--divergence jeffreys is not known"),
        ({"bons": 3}, "unrecognized arguments: --bons 3"),
    ],
)
def test_bad_options(
    changes: dict[str, Any], message: str, models: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(models, problems, tmp_path / "run", **changes)
    if message.startswith("lab:nowhere"):  # the lab's streams start with their first problem
        assert message in refused(lambda: snr_probe.main(argv), capsys, bars=True)
        return
    assert message in refused(lambda: snr_probe.main(argv), capsys)
    assert not (tmp_path / "run").exists(), "a refused command leaves nothing in the way of its correction"


@pytest.mark.parametrize(
    ("content", "message", "early"),
    [
        ([], "no problems in it", True),
        (spoilt_rows(answer=None), "line 4", True),
        (spoilt_rows(prompt=""), "line 4", True),
        (spoilt_rows(id="sum01"), "problem id 'sum01' occurs twice", False),
        (spoilt_rows(solution=None), "problem 'sum03' has no expert solution", False),
        (spoilt_rows(prompt="1+" * 80), "the prompt of problem 'sum03' has", False),
    ],
    ids=["empty", "no answer", "no prompt", "duplicate id", "no solution", "too long"],
)
def test_bad_problems(
    content: list[dict[str, Any]], message: str, early: bool, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "bad.jsonl", content)
    argv = arguments(models, path, tmp_path / "run", **{"per-bin": 40})
    assert message in refused(lambda: snr_probe.main(argv), capsys, bars=not early)
    assert (tmp_path / "run").exists() != early


def test_a_teacher_that_reads_other_tokens(models: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = tiny_tokenizer()
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    vocabulary["3"], vocabulary["4"] = vocabulary["4"], vocabulary["3"]
    save(tmp_path / "models" / "teacher", kind="llama")
    (tmp_path / "models" / "teacher" / "tokenizer.json").write_text(json.dumps(content))
    argv = arguments(models, problems, tmp_path / "run", teacher=tmp_path / "models" / "teacher")
    line = refused(lambda: snr_probe.main(argv), capsys)
    assert "have different vocabularies: 2 tokens differ, for example '3'" in line and not (tmp_path / "run").exists()


def test_a_truncated_weights_file(models: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "student")
    weights = tmp_path / "student" / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    argv = arguments(models, problems, tmp_path / "run", student=tmp_path / "student")
    assert "model.safetensors is truncated or damaged" in refused(lambda: snr_probe.main(argv), capsys)


def test_a_folder_of_another_run_is_refused_and_left_alone(
    models: Path, problems: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    line = refused(lambda: snr_probe.main(arguments(models, problems, whole, K=5, bins=6)), capsys)
    assert "another configuration; differing: K (4 there, 5 now), bins (5 there, 6 now)" in line
    assert {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()} == before
    file = whole / "config.yaml"
    assert "is a file; name a folder" in refused(lambda: snr_probe.main(arguments(models, problems, file)), capsys)


def test_weights_and_problems_that_changed_since_the_run_began_are_refused(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "student")
    source = write_rows(tmp_path / "sums.jsonl", rows())
    argv = arguments(models, source, tmp_path / "run", student=tmp_path / "student")
    snr_probe.main(argv)
    (tmp_path / "run" / "record.json").unlink()
    save(tmp_path / "student", seed=3)
    assert "holds a run begun before the student changed" in refused(lambda: snr_probe.main(argv), capsys)
    save(tmp_path / "student")
    write_rows(source, rows()[:-1])
    assert "holds a run begun before the problems changed" in refused(lambda: snr_probe.main(argv), capsys)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", b"not an archive at all"])
def test_damaged_gradients_are_named(damage: bytes, models: Path, problems: Path, tmp_path: Path, whole: Path) -> None:
    path = tmp_path / "bin-002.npz"
    path.write_bytes(damage)
    with pytest.raises(UserError, match=r"bin-002\.npz is corrupted .*delete it and run the same command again"):
        stages._load(path)
    stored = (whole / "gradients" / "bin-002.npz").read_bytes()
    path.write_bytes(stored[: len(stored) // 2])
    with pytest.raises(UserError, match=r"bin-002\.npz is corrupted"):
        stages._load(path)


def test_a_damaged_journal_or_record_is_named(
    models: Path, problems: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    snr_probe.main(arguments(models, problems, out))
    (out / "record.json").write_text('{"bins": [')
    assert "record.json is corrupted" in refused(lambda: snr_probe.main(arguments(models, problems, out)), capsys)


def test_as_a_command_it_ends_with_status_2_one_line_and_no_traceback(models: Path, problems: Path, tmp_path: Path) -> None:
    argv = arguments(models, problems, tmp_path / "run", student="an/unreachable-model")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m", "paced_exp.snr_probe", *argv],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: model an/unreachable-model is no folder here, and the hub cannot be reached")
    assert not (tmp_path / "run").exists()
