"""Checkpoints: a damaged one is named and not believed, the run ends with the weights of one that nothing happened to; full disks are one line."""

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from paced_exp.core.checkpoints import checkpoints, fault, last_whole, seal, written_whole
from paced_exp.core.errors import UserError
from tests.support.distill_setup import trainer

UPDATES = 6


def run(folder: Path, source: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """Train, or go on, and return the weights. Adam and an EMA teacher, so that a checkpoint has state of every kind."""
    options = {"teacher": "self", "teacher_update": "ema", "steps": UPDATES, "checkpoint_every": 2, "learning_rate": 1e-2}
    ours = trainer(folder, source, **options, training_arguments={}, **changes)
    ours.train_or_resume()
    return {name: parameter.detach().clone() for name, parameter in ours.data.student.model.named_parameters()}


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, run(folder, source)


Whole = tuple[Path, dict[str, torch.Tensor]]


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def steps_in(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "training" / "metrics.jsonl").read_text().splitlines()]


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 1
    path.write_bytes(bytes(content))


FILES = [
    "model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "config.json",
    "teacher-0/teacher_ema.safetensors",
    "manifest.json",
]


def test_a_checkpoint_has_these_files_and_the_last_two_are_kept(whole: Whole) -> None:
    training = whole[0] / "training"
    assert [path.name for path in checkpoints(training)] == ["checkpoint-4", "checkpoint-6"]
    for path in checkpoints(training):
        held = {str(name.relative_to(path)) for name in path.rglob("*") if name.is_file()}
        assert held >= set(FILES)
        assert not [name for name in held if name.endswith(".bin")], "a pickle"


@pytest.mark.parametrize("damage", [delete, truncate, flip_a_bit])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(
    name: str, damage: Callable[[Path], None], whole: Whole, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole[0], tmp_path / "run")
    training = tmp_path / "run" / "training"
    damage(training / "checkpoint-6" / name)
    assert_same(run(tmp_path / "run", source), whole[1])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert f"{training / 'checkpoint-6'} is damaged: " in line
    assert "it is set aside as damaged-checkpoint-6, and the run goes on from checkpoint-4" in line
    assert name in line or name == "manifest.json"  # a bit of the manifest: the file whose line it is in
    assert steps_in(tmp_path / "run") == list(range(1, UPDATES + 1))
    assert [path.name for path in checkpoints(training)] == ["checkpoint-4", "checkpoint-6"]
    assert (training / "damaged-checkpoint-6").is_dir()


def test_without_a_whole_checkpoint_the_run_begins_anew(
    whole: Whole, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole[0], tmp_path / "run")
    for number in (4, 6):
        flip_a_bit(tmp_path / "run" / "training" / f"checkpoint-{number}" / "optimizer.pt")
    assert_same(run(tmp_path / "run", source), whole[1])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 2 and all("optimizer.pt is not as it was written" in line for line in lines)
    assert all("the run begins anew" in line for line in lines)
    assert steps_in(tmp_path / "run") == list(range(1, UPDATES + 1))


def test_the_metrics_are_those_of_the_checkpoint(whole: Whole, source: Path, tmp_path: Path) -> None:
    shutil.copytree(whole[0], tmp_path / "run")
    metrics = tmp_path / "run" / "training" / "metrics.jsonl"
    before = metrics.read_text()
    foreign = json.dumps({"step": 1, "loss": 7.0}) + "\n"
    metrics.write_text(foreign + before + foreign[:9])
    run(tmp_path / "run", source)
    assert metrics.read_text() == before


def link(folder: Path) -> None:
    shutil.copy(folder / "optimizer.pt", folder.parent / "elsewhere")
    (folder / "optimizer.pt").unlink()
    (folder / "optimizer.pt").symlink_to(folder.parent / "elsewhere")


def pipe(folder: Path) -> None:
    (folder / "optimizer.pt").unlink()
    os.mkfifo(folder / "optimizer.pt")


def renamed(folder: Path) -> None:
    other = folder.with_name("checkpoint-4")
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def manifest(text: str | bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "manifest.json").write_bytes(text.encode() if isinstance(text, str) else text)

    return damage


def extra(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (link, "optimizer.pt is no regular file"),
        (pipe, "optimizer.pt is no regular file"),
        (renamed, "manifest.json is of update 4"),
        (a_file, "manifest.json cannot be read"),
        (extra, "pytorch_model.bin does not belong to it"),
        (manifest("{}"), "manifest.json lists no files"),
        (manifest("[]"), "manifest.json cannot be read"),
        (manifest('{"step": 6, "files": []}'), "manifest.json lists no files"),
        (manifest('{"step": 6, "files": {"a": [1]}}'), "a is missing"),
        (manifest('{"step": [6], "files": {"a": 1}}'), "manifest.json is of update [6]"),
        (manifest("[" * 10_000), "manifest.json cannot be read"),
        (manifest(b"\xff\xfe"), "manifest.json cannot be read"),
    ],
)
def test_what_is_wrong_is_said(
    damage: Callable[[Path], None], fault: str, whole: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = tmp_path / "training"
    shutil.copytree(whole[0] / "training", training)
    (training / "checkpoint-last").mkdir()  # no checkpoint's name
    damage(training / "checkpoint-6")
    assert last_whole(training) == training / "checkpoint-4"
    assert f"checkpoint-6 is damaged: {fault}" in capsys.readouterr().err
    assert last_whole(training) == training / "checkpoint-4" and capsys.readouterr().err == ""


def test_a_sealed_folder_is_whole_and_an_unsealed_one_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "checkpoint-3"
    (folder / "teacher-0").mkdir(parents=True)
    (folder / "teacher-0" / "weights").write_bytes(b"x" * 100)
    assert last_whole(tmp_path) is None
    assert "manifest.json is missing (older versions wrote none" in capsys.readouterr().err
    (tmp_path / "damaged-checkpoint-3").rename(folder)
    seal(folder, 3)
    assert last_whole(tmp_path) == folder
    written = json.loads((folder / "manifest.json").read_text())
    # sha256sum of a hundred x, from coreutils
    digest = subprocess.run(["sha256sum"], input=b"x" * 100, capture_output=True, check=True).stdout.split()[0].decode()
    assert written == {"step": 3, "files": {"teacher-0/weights": f"sha256:{digest}"}}
    assert fault(folder, {}) == "teacher-0/weights does not belong to it"


# ---- a full disk


@contextmanager
def tmpfs(folder: Path, megabytes: int) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no filesystem can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("free", [20_000, 100_000, 200_000, 400_000])
def test_a_disk_that_fills_up_during_a_checkpoint_is_one_line_and_the_run_goes_on_later(
    free: int, whole: Whole, source: Path, tmp_path: Path
) -> None:
    with tmpfs(tmp_path / "small", 3) as disk:
        out = disk / "run"
        shutil.copytree(whole[0], out, ignore=shutil.ignore_patterns("checkpoint-6"))
        available = shutil.disk_usage(disk).free
        (disk / "filling").write_bytes(b"x" * (available - free))
        with pytest.raises(UserError) as caught:
            run(out, source)
        message = str(caught.value)
        assert "checkpoint-6 cannot be written (" in message and "free some space and run the same command again" in message
        assert "\n" not in message
        assert [path.name for path in (out / "training").iterdir() if path.is_dir()] == ["checkpoint-4"]
        (disk / "filling").unlink()
        assert_same(run(out, source), whole[1])


@pytest.mark.parametrize("most", [1_000, 30_000, 150_000])
def test_a_file_that_may_not_grow_is_one_line(most: int, whole: Whole, source: Path, tmp_path: Path) -> None:
    shutil.copytree(whole[0], tmp_path / "run", ignore=shutil.ignore_patterns("checkpoint-6"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        with pytest.raises((UserError, OSError)) as caught:
            run(tmp_path / "run", source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert_same(run(tmp_path / "run", source), whole[1])


def test_other_errors_keep_their_traceback(tmp_path: Path) -> None:
    (tmp_path / "aside").mkdir()
    with pytest.raises(RuntimeError, match="shapes"), written_whole("x", tmp_path / "aside"):
        raise RuntimeError("shapes do not match")
    assert (tmp_path / "aside").exists()
    with pytest.raises(UserError, match=r"x cannot be written \(No space"), written_whole("x", tmp_path / "aside"):
        raise SafetensorError("No space left on device")
    assert not (tmp_path / "aside").exists()
