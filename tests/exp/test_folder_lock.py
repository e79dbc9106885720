"""The lock of a run's folder: the second run is refused at once and told who is there, a kill frees it, and no child keeps it."""

import errno
import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import paced_exp.distill as distill
import paced_exp.evaluate as evaluate
from paced_exp import rollout, snr_probe
from paced_exp.core import folder_lock
from paced_exp.core.errors import UserError
from paced_exp.core.folder_lock import locked
from paced_exp.lab import __main__ as lab
from paced_exp.models import loading as models

HOLDER = """
import os, subprocess, sys, time
from multiprocessing import get_context
from pathlib import Path
from paced_exp.core.folder_lock import locked

with locked(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "config.yaml").write_text("seed: 3\\n")
    child = 0
    if sys.argv[2] == "fork":
        child = os.fork()
        if child == 0:
            time.sleep(600)
    elif sys.argv[2] == "worker":
        process = get_context("fork").Process(target=time.sleep, args=(600,))
        process.start()
        child = process.pid
    elif sys.argv[2] == "program":
        child = subprocess.Popen(["sleep", "600"]).pid
    print(child, flush=True)
    time.sleep(600)
"""


@contextmanager
def another_run(folder: Path, child: str = "none") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds the folder's lock, and the id of the child it has, 0 for none; both are killed at the end."""
    command = [sys.executable, "-c", HOLDER, str(folder), child]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        try:
            yield process, pid
        finally:
            process.kill()
            if pid:
                os.kill(pid, signal.SIGKILL)


def content(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_second_run_is_refused_at_once_and_told_who_is_there(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with another_run(out) as (process, _):
        before, began = content(out), time.monotonic()
        with pytest.raises(UserError) as caught, locked(out):
            pytest.fail("two runs are in one folder")
        assert time.monotonic() - began < 1
        message = str(caught.value)
        assert f"`out` {out} is in use by process {process.pid} on {socket.gethostname()} since 20" in message
        assert "(-c " in message and "wait for its end, stop it, or name another folder" in message and "\n" not in message
        assert content(out) == before


COMMANDS: dict[str, Callable[[list[str]], object]] = {
    "rollout": rollout.main,
    "evaluate": evaluate.main,
    "distill": distill.main,
    "snr_probe": snr_probe.main,
    "snr_probe at steps": lambda argv: snr_probe.main([*argv, "--at-steps", "1,3"]),
    "pretrain": lambda argv: lab.main(["pretrain", "student", *argv]),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_refused_before_it_loads_anything(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        pytest.fail("a model was loaded")

    monkeypatch.setattr(models, "load_model", load)
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"):
        before = content(tmp_path)
        with pytest.raises(UserError, match=f"is in use by process {os.getpid()} on"):
            COMMANDS[command](["--out", str(tmp_path / "run")])
        assert content(tmp_path) == before


def test_an_evaluation_locks_the_base_it_makes(tmp_path: Path) -> None:
    with locked(tmp_path / "run-against"), pytest.raises(UserError, match=r"run-against is in use by process"):
        evaluate.main(["--out", str(tmp_path / "run"), "--against", "lab:student"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("child", ["none", "fork", "worker", "program"])
def test_a_kill_frees_the_lock_though_children_live_on(child: str, tmp_path: Path) -> None:
    with another_run(tmp_path / "run", child) as (process, pid):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (pid > 0) == (child != "none")
        os.kill(pid, 0)  # alive
        assert (tmp_path / "run" / ".lock").exists()
        time.sleep(0.2)  # a fork gives the lock up as it begins to run
        with locked(tmp_path / "run"):
            assert json.loads((tmp_path / "run" / ".lock").read_text())["pid"] == os.getpid()


def test_what_the_block_leaves_empty_is_removed_again(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b" / "c"):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "record.json").write_text("{}")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["record.json"]
    (tmp_path / "mine").mkdir()
    with locked(tmp_path / "mine"):
        pass
    assert list((tmp_path / "mine").iterdir()) == [], "a folder that was there stays, without the lock's file"


def test_a_fork_that_leaves_the_block_frees_nothing(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        lock = locked(tmp_path / "run" / "below")
        lock.__enter__()
        if (pid := os.fork()) == 0:
            lock.__exit__(None, None, None)
            os._exit(0)
        os.waitpid(pid, 0)
        with pytest.raises(UserError, match="in use"), locked(tmp_path / "run" / "below"):
            pass
        lock.__exit__(None, None, None)
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


CONTENDER = """
import os, sys, time
from pathlib import Path
from paced_exp.core.errors import UserError
from paced_exp.core.folder_lock import locked
taken, end = 0, time.monotonic() + 1.0
while time.monotonic() < end:
    try:
        with locked(Path(sys.argv[1])):
            inside = os.open(sys.argv[1] + "/inside", os.O_CREAT | os.O_EXCL)  # raises where another is inside
            os.close(inside)
            os.unlink(sys.argv[1] + "/inside")
            taken += 1
    except UserError:
        pass
print(taken)
"""


def test_contenders_that_make_and_remove_the_folder_are_never_inside_together(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONTENDER, str(tmp_path / "a" / "run")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    outcomes = [(*process.communicate(timeout=60), process.returncode) for process in running]
    assert [error for _, error, status in outcomes if status] == []
    assert sum(int(printed) for printed, _, _ in outcomes) > 20
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [], "at most an empty folder stays, which is nobody's"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_filesystem_without_locks_is_one_line(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(UserError, match=r"lies on a filesystem without file locks .* name a folder on another filesystem"),
        locked(tmp_path / "run"),
    ):
        pytest.fail("the lock was taken")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", [b"", b"\xff\x00", b"[]", b"[" * 4000, b'{"pid": 3}', b'{"pid": {"a": 1}, "host": "\\u001b[2J\\n", "since": [], "command": 1}']
)
def test_a_lock_file_that_says_nothing_sensible_still_locks(text: bytes, tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / ".lock").write_bytes(text)
        with pytest.raises(UserError, match="is in use by") as caught, locked(tmp_path):
            pass
        assert str(caught.value).isprintable()


def test_a_lock_file_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / ".lock").symlink_to(tmp_path / "victim")
    (tmp_path / "folder" / ".lock").mkdir(parents=True)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / ".lock")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    for name in ("link", "folder", "pipe", "nowhere"):
        with pytest.raises(OSError), locked(tmp_path / name):
            pass
    assert not (tmp_path / "victim").exists()
    assert folder_lock.NAME == ".lock"
