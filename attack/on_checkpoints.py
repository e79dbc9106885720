"""Damaged, cut off and forged checkpoints. None is read, and a run ends with the same weights as an undisturbed one."""

import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from attack.harness import Attack
from attack.tiny_runs import argv, python, refused, said, same, train, whole_run
from paced_exp.core.checkpoints import checkpoints, last_whole, seal
from paced_exp.core.errors import UserError

FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "config.json", "manifest.json")


# ---- damage to a file


def _delete(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def _flip(path: Path, part: float = 0.7) -> None:
    content = bytearray(path.read_bytes())
    content[int(part * len(content))] ^= 1
    path.write_bytes(bytes(content))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


DAMAGES = {
    "missing": _delete,
    "empty": _empty,
    "cut in two": _truncate,
    "with a byte more": _lengthen,
    "with one bit flipped": _flip,
    "a folder": _folder,
    "a pipe": _pipe,
    "a link": _link,
}

MANIFESTS: dict[str, str | bytes] = {
    "{}": "{}",
    "a list": "[]",
    "that of another update": '{"step": 4, "files": {"a": "b"}}',
    "a list of files": '{"step": 6, "files": ["optimizer.pt"]}',
    "no files": '{"step": 6, "files": {}}',
    "numbers for digests": '{"step": 6, "files": {"optimizer.pt": 3}}',
    "nested 10,000 deep": "[" * 10_000,
    "binary": bytes(range(256)),
    "a path out of the folder": '{"step": 6, "files": {"../../secret": "sha256:0"}}',
}


# ---- checkpoints of made-up files


def _made_up(folder: Path) -> Path:
    """Two sealed checkpoints under `folder`; returns the second."""
    for step in (4, 6):
        path = folder / f"checkpoint-{step}"
        path.mkdir()
        for name in FILES[:-1]:
            (path / name).write_bytes(f"{name} of update {step}".encode() * 100)
        seal(path, step)
    return folder / "checkpoint-6"


def _not_believed(damage: Callable[[Path], object], folder: Path) -> None:
    damaged = _made_up(folder)
    damage(damaged)
    found: list[Path | None] = []
    printed = said(lambda: found.append(last_whole(folder)))
    assert found == [folder / "checkpoint-4"], f"{found} was taken for whole"
    assert printed.count("\n") == 1 and f"{damaged} is damaged: " in printed and "goes on from checkpoint-4" in printed, printed


def _in(name: str, damage: Callable[[Path], object]) -> Callable[[Path], None]:
    return partial(_not_believed, lambda folder: damage(folder / name))


def _with_manifest(text: str | bytes) -> Callable[[Path], None]:
    return partial(_not_believed, lambda folder: (folder / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode()))


def _of_another_update(folder: Path) -> None:
    def copy(path: Path) -> None:
        shutil.rmtree(path)
        shutil.copytree(path.with_name("checkpoint-4"), path)

    _not_believed(copy, folder)


def _a_pickle_beside(folder: Path) -> None:
    _not_believed(lambda path: (path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR."), folder)


def _strange_names(folder: Path) -> None:
    _made_up(folder)
    for name in ("checkpoint-", "checkpoint-x", "checkpoint-9 ", "checkpoint-" + "9" * 200, "checkpoint--7", "checkpoint-٣"):
        (folder / name).mkdir()
    assert last_whole(folder) == folder / "checkpoint-6"


def _none_whole(folder: Path) -> None:
    _made_up(folder)
    for step in (4, 6):
        _flip(folder / f"checkpoint-{step}" / "optimizer.pt")
    found: list[Path | None] = []
    printed = said(lambda: found.append(last_whole(folder)))
    assert found == [None] and printed.count("the run begins anew") == 2, printed


# ---- real trainings


def _resumed(damage: Callable[[Path], object], folder: Path) -> None:
    """A run's training folder is damaged before the record is written. The run says so and ends with the same weights."""
    done, expected = whole_run()
    out = folder / "run"
    shutil.copytree(done, out)
    for name in ("record.json", "trained.json"):
        (out / name).unlink()
    damage(out / "training")
    printed = said(lambda: same(train(out), expected))
    assert "is damaged: " in printed, printed
    steps = [json.loads(line)["step"] for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6], steps


def _both(training: Path) -> None:
    for path in checkpoints(training):
        _flip(path / "model.safetensors")


def _no_manifests(training: Path) -> None:
    for path in checkpoints(training):
        (path / "manifest.json").unlink()


def _a_damaged_model(folder: Path) -> None:
    """The trained model is damaged between the training and the evaluation."""
    done, expected = whole_run()
    out = folder / "run"
    shutil.copytree(done, out)
    (out / "record.json").unlink()
    _flip(out / "model" / "model.safetensors")
    printed = said(lambda: same(train(out), expected))
    assert "model.safetensors is not as it was written; it is made again from the last checkpoint" in printed, printed


def _nothing_pickled(folder: Path) -> None:
    done, _ = whole_run()
    assert not [path for path in done.rglob("*") if path.suffix in (".bin", ".pkl", ".pickle")]


def _foreign_metrics(folder: Path) -> None:
    done, expected = whole_run()
    out = folder / "run"
    shutil.copytree(done, out)
    for name in ("record.json", "trained.json"):
        (out / name).unlink()
    (out / "training" / "metrics.jsonl").write_text('{"step": 1, "loss": 7}\n[]\n' + "[" * 10_000)
    same(train(out), expected)
    assert (out / "training" / "metrics.jsonl").read_text() == (done / "training" / "metrics.jsonl").read_text()


_KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
import paced_exp.distill as distill
from tests.support.kill_probe import before_renaming
before_renaming(sys.argv[1])()
distill.main(sys.argv[2:])
"""


def _killed_at(name: str, folder: Path) -> None:
    """The run is killed just before the finished file or folder `name` is renamed to its name."""
    _, expected = whole_run()
    with python(_KILLED, name, *argv(folder / "run")) as process:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, errors[-2000:]
    same(train(folder / "run"), expected)


# ---- a full disk


def _unfinished(out: Path) -> None:
    """A run with the checkpoint of update 4 and without the next one."""
    shutil.copytree(whole_run()[0], out, ignore=shutil.ignore_patterns("checkpoint-6", "record.json", "trained.json", "model", "*.parquet"))


def _small_file_limit(folder: Path) -> None:
    _, expected = whole_run()
    for number, most in enumerate((2_000, 20_000, 60_000)):
        out = folder / str(number)
        _unfinished(out)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        try:
            refused(lambda out=out: _full(out))  # type: ignore[misc]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        same(train(out), expected)


def _full(out: Path) -> None:
    try:
        train(out)
    except OSError as error:  # a command prints it in one line (errors.exit_cleanly)
        raise UserError(str(error)) from error


def _full_disk(folder: Path) -> None:
    """A file system of 3 MB that is nearly full. If none can be mounted, file sizes are limited instead."""
    _, expected = whole_run()
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        _small_file_limit(folder)
        return
    try:
        for free in range(8_000, 500_000, 60_000):
            out = disk / str(free)
            _unfinished(out)
            (disk / "filling").write_bytes(b"x" * max(0, shutil.disk_usage(disk).free - free))
            if free < 200_000:
                refused(partial(_full, out))
            else:
                try:
                    _full(out)
                except UserError as error:
                    assert "\n" not in str(error)
            (disk / "filling").unlink()
            same(train(out), expected)
            shutil.rmtree(out)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


ATTACKS = [
    *(Attack("checkpoints", f"{name} is {what}", _in(name, damage)) for name in FILES for what, damage in DAMAGES.items()),
    *(Attack("checkpoints", f"the manifest is {what}", _with_manifest(text)) for what, text in MANIFESTS.items()),
    Attack("checkpoints", "a checkpoint has another one's name", _of_another_update),
    Attack("checkpoints", "a checkpoint holds a pickle", _a_pickle_beside),
    Attack("checkpoints", "folders have names like those of checkpoints", _strange_names),
    Attack("checkpoints", "no checkpoint is whole", _none_whole),
    Attack("checkpoints", "a run writes no pickles", _nothing_pickled, slow=True),
    *(
        Attack("checkpoints", f"a training goes on with {name} {what}", partial(_resumed, damage), slow=True)
        for name, what, damage in (
            ("optimizer.pt", "missing", lambda training: (training / "checkpoint-6" / "optimizer.pt").unlink()),
            ("scheduler.pt", "missing", lambda training: (training / "checkpoint-6" / "scheduler.pt").unlink()),
            ("model.safetensors", "changed by a bit", lambda training: _flip(training / "checkpoint-6" / "model.safetensors")),
            ("model.safetensors", "cut in two", lambda training: _truncate(training / "checkpoint-6" / "model.safetensors")),
            ("both models", "changed by a bit", _both),
            ("no manifest", "in any checkpoint", _no_manifests),
        )
    ),
    Attack("checkpoints", "the trained model changes before its evaluation", _a_damaged_model, slow=True),
    Attack("checkpoints", "metrics.jsonl has lines of another run", _foreign_metrics, slow=True),
    *(
        Attack("checkpoints", f"killed before {name} has its name", partial(_killed_at, name), slow=True)
        for name in ("manifest.json", "checkpoint-2", "checkpoint-6", "model", "trained.json")
    ),
    Attack("checkpoints", "the disk fills up during a checkpoint", _full_disk, slow=True),
    Attack("checkpoints", "files may not grow", _small_file_limit, slow=True),
]
