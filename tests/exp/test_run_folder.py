"""A run's folder: resumed by the same configuration, refused by another, files written whole or not at all, also when killed."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from paced_exp import run_folder
from paced_exp.errors import UserError
from paced_exp.run_folder import RunFolder, git_state, provenance, read_json, write_json


@dataclass(frozen=True)
class Settings:
    """A configuration."""

    seed: int = 3
    name: str = "a"
    rates: tuple[float, float] = (0.1, 1e-9)
    columns: dict[str, str] | None = None
    out: str = "unused"


def test_a_new_folder_holds_configuration_and_provenance(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "deep" / "run", Settings()).open()
    assert yaml.safe_load((run / "config.yaml").read_text()) == {
        "seed": 3,
        "name": "a",
        "rates": [0.1, 1e-9],
        "columns": None,
        "out": "unused",
    }
    stored = json.loads((run / "provenance.json").read_text())
    assert stored["seed"] == 3 and {"command", "git", "versions", "machine", "started"} <= stored.keys()
    assert stored["versions"]["python"] == sys.version.split()[0] and stored["versions"]["torch"] != "not installed"
    assert not run.record_path.exists()


def test_the_same_configuration_resumes_and_keeps_what_is_there(tmp_path: Path) -> None:
    RunFolder(tmp_path, Settings()).open()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    RunFolder(tmp_path, replace(Settings(), out="elsewhere")).open()  # where the folder is does not change what the run is
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_from_before_an_option_existed_resumes_with_that_options_default_only(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", Settings()).open()
    path = tmp_path / "run" / "config.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("name:")))
    RunFolder(tmp_path / "run", Settings()).open()
    with pytest.raises(UserError, match=r"differing: name \('a' there, 'b' now\)"):
        RunFolder(tmp_path / "run", Settings(name="b")).open()


def test_another_configuration_is_refused_with_every_differing_field(tmp_path: Path) -> None:
    RunFolder(tmp_path, Settings()).open()
    other = Settings(seed=4, rates=(0.1, 2e-9), columns={"id": "x"})
    for method in ("open", "check"):
        with pytest.raises(UserError) as raised:
            getattr(RunFolder(tmp_path, other), method)()
        text = str(raised.value)
        assert "seed (3 there, 4 now)" in text and "rates ([0.1, 1e-09] there, [0.1, 2e-09] now)" in text
        assert "columns (None there, {'id': 'x'} now)" in text and "name (" not in text and "\n" not in text


def test_a_field_that_is_no_option_any_more_is_named(tmp_path: Path) -> None:
    RunFolder(tmp_path, Settings()).open()
    stored = yaml.safe_load((tmp_path / "config.yaml").read_text())
    stored["old"] = 1
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stored))
    with pytest.raises(UserError, match=r"old \(1 there, 'absent' now\)"):
        RunFolder(tmp_path, Settings()).open()


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"is not empty and is no run folder \(it has no config.yaml\)"):
        RunFolder(tmp_path, Settings()).open()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_left_over_temporary_files_do_not_stand_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.123.tmp").write_text("half")
    assert RunFolder(tmp_path, Settings()).open().config == Settings()


def test_paths_that_cannot_be_a_folder_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for path, message in [
        (file, "is a file; name a folder"),
        (file / "below", "cannot be used"),
        (tmp_path / ("n" * 300), "cannot be used"),
    ]:
        with pytest.raises(UserError, match=message):
            RunFolder(path, Settings()).open()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_one_line(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(run_folder.os, "replace", refuse)
    with pytest.raises(UserError, match=f"cannot be used \\({os.strerror(code)}\\)"):
        RunFolder(tmp_path / "run", Settings()).open()
    monkeypatch.undo()
    assert RunFolder(tmp_path / "run", Settings()).open().record_path.parent == tmp_path / "run", "and nothing stands in the way later"


def test_checking_writes_nothing(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", Settings()).check()
    assert not (tmp_path / "run").exists()


def test_changed_inputs_are_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, Settings()).open()
    run.claim({"student": "sha256:1", "teacher": "sha256:2"})
    run.claim({"student": "sha256:1", "teacher": "sha256:2"})
    with pytest.raises(UserError, match="begun before the teacher changed"):
        run.claim({"student": "sha256:1", "teacher": "sha256:3"})
    with pytest.raises(UserError, match="begun before the student and the teacher changed"):
        run.claim({"student": "sha256:0", "teacher": "sha256:3"})


# ---- files


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1} and [name.name for name in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"x": [float("-inf")]}])
def test_numbers_that_json_lacks_are_refused_before_anything_is_written(value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "x.json", value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b'{"a": 1', b"", b"\xff\xff", b"[1] 2"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"record\.json is corrupted .*delete it to make it again"):
        read_json(path)


WRITER = """
import sys
from pathlib import Path
from paced_exp.run_folder import write_json
path, number = Path(sys.argv[1]), 0
while True:
    write_json(path, {"number": number, "filling": [number] * 20000})
    print(number, flush=True)
    number += 1
"""


def test_killed_while_writing_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    for wanted in (1, 2, 4):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(wanted):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        value = read_json(path)
        assert value["filling"] == [value["number"]] * 20000 and value["number"] >= wanted - 1


def test_provenance_tells_code_that_is_not_from_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An environment inside somebody's own repository: its commit says nothing about this package.
    installed = tmp_path / "site-packages" / "run_folder.py"
    installed.parent.mkdir()
    installed.write_text("")
    quiet = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*quiet, "init", "-q"], check=True)
    subprocess.run([*quiet, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    monkeypatch.setattr(run_folder, "__file__", str(installed))
    assert git_state() == {"commit": None, "dirty": None}
    subprocess.run([*quiet, "add", "-A"], check=True)
    assert git_state()["dirty"] is True
    subprocess.run([*quiet, "commit", "-q", "-m", "ours"], check=True)
    state = git_state()
    assert state["dirty"] is False and len(state["commit"]) == 40


def test_provenance_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state() == {"commit": None, "dirty": None}
    assert provenance(None)["seed"] is None
