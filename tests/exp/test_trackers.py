"""`--report-to`: what each tracker has kept is what the run's own log says; nothing leaves the machine."""

import json
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.children import environment
from tests.support.distill_setup import arguments, save_models, write_problems

UPDATES = 3


def from_tensorboard(home: Path) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [events] = home.rglob("events.out.tfevents.*")
    kept = EventAccumulator(str(events)).Reload()
    return {event.step: event.value for event in kept.Scalars("train/loss")}


def from_wandb(home: Path) -> dict[int, float]:
    """Its file is a LevelDB log: a head of 7 bytes, then records of checksum (4 bytes), length (2), kind (1, whole) and a protobuf message."""
    from wandb.proto.wandb_internal_pb2 import Record

    [path] = home.rglob("run-*.wandb")
    data, at, found = path.read_bytes(), 7, {}
    assert data[:4] == b":W&B" and len(data) < 32_768  # one block, so that no record is in parts
    while at < len(data):
        _, length, kind = struct.unpack_from("<IHB", data, at)
        assert kind == 1
        record = Record()
        record.ParseFromString(data[at + 7 : at + 7 + length])
        at += 7 + length
        values = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        if "train/loss" in values:
            found[int(values["train/global_step"])] = float(values["train/loss"])
    return found


def from_trackio(home: Path) -> dict[int, float]:
    [path] = (home / "trackio").glob("*.db")
    with sqlite3.connect(path) as database:
        rows = [json.loads(metrics) for (metrics,) in database.execute("SELECT metrics FROM metrics ORDER BY id")]
    return {int(row["train/global_step"]): float(row["train/loss"]) for row in rows if "train/loss" in row}


@pytest.mark.parametrize(("tracker", "read"), [("tensorboard", from_tensorboard), ("wandb", from_wandb), ("trackio", from_trackio)])
def test_each_updates_loss_arrives(tracker: str, read: Callable[[Path], dict[int, float]], tmp_path: Path) -> None:
    models, source = save_models(tmp_path / "models"), write_problems(tmp_path / "problems.jsonl")
    options = {"report-to": tracker, "steps": UPDATES, "method": "uniform", "reference": "solution", "teacher-prompt": "plain"}
    argv = arguments(models, source, tmp_path / "out", **options)
    offline = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "TRACKIO_DIR": str(tmp_path / "trackio"), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "paced_exp.distill", *argv]
    run = subprocess.run(command, env=environment() | offline, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    log = [json.loads(line) for line in (tmp_path / "out" / "training" / "metrics.jsonl").read_text().splitlines()]
    assert read(tmp_path) == pytest.approx({row["step"]: row["loss"] for row in log}, rel=1e-6) and len(log) == UPDATES
