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

from paced_exp.core import run_folder
from paced_exp.core.clock import StageClock
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json, write_json
from paced_exp.core.run_folder import RunFolder, git_state, provenance


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


# ---- the lock and the record


def test_a_folder_that_holds_only_a_lock_counts_as_new(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("{}")
    with RunFolder(tmp_path, Settings()).locked() as run:
        assert run.open().config == Settings()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "provenance.json"]


def test_a_refused_folder_is_not_touched_by_the_lock(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    before = tmp_path.stat().st_mtime_ns
    with pytest.raises(UserError, match="is no run folder"), RunFolder(tmp_path, Settings()).locked():
        pass
    assert tmp_path.stat().st_mtime_ns == before


def test_the_record_is_made_once_and_read_back(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, object]:
        made.append(1)
        assert (tmp_path / ".lock").exists()
        run.open()
        return {"kind": "tale", "rates": (0.5, 1e-9), "by": {10: "a", 9: "b"}}

    run = RunFolder(tmp_path, Settings())
    first = run.recorded("tale", make)
    again = run.recorded("tale", make)
    assert made == [1] and json.loads(json.dumps(first)) == again == {"kind": "tale", "rates": [0.5, 1e-9], "by": {"10": "a", "9": "b"}}
    assert not (tmp_path / ".lock").exists()


def test_of_several_processes_the_others_only_help(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "run", Settings()).recorded("tale", dict, main=False) == {}
    assert not (tmp_path / "run").exists()


def test_a_command_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    def refuse() -> dict[str, object]:
        raise UserError("--steps 0 must be at least 1")

    with pytest.raises(UserError, match="--steps"):
        RunFolder(tmp_path / "a" / "run", Settings()).recorded("tale", refuse)
    assert list(tmp_path.iterdir()) == []


DEEP = "[" * 10_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "is no record of kind 'tale', or damaged"),
        ("[]", "holds a list, not an object"),
        ('{"kind": ["tale"]}', "is no record of kind 'tale', or damaged"),
        ('{"kind": "tale", "n": 3}', "has no checksum, so it is damaged or an older version wrote it"),
        ('{"kind": "tale", "n": 3, "checksum": "sha256:0"}', "its content does not match its checksum"),
        ('{"kind": "tale", "n": 3, "checksum": {}}', "its content does not match its checksum"),
        ('{"kind": "tale", "n": NaN}', "it holds NaN, which is no number of JSON"),
        ('{"kind": "tale", "n": 1e999}', "a number in it is not finite"),
        ('{"kind": "tale", "n": ' + DEEP + "]" * 10_000 + "}", "is nested more than 64 deep"),
        ('{"kind": "tale", "n": ' + 70 * "[" + 70 * "]" + "}", "is nested more than 64 deep"),
        (DEEP, "is corrupted"),
        ('{"kind": "tale", "n": ' + "9" * 5_000 + "}", "is corrupted"),
    ],
)
def test_a_damaged_record_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path, Settings()).open()
    run.record_path.write_text(content)
    with pytest.raises(UserError) as caught:
        run.recorded("tale", lambda: pytest.fail("it was made again"))
    assert message in str(caught.value) and str(run.record_path) in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_bit_of_a_record_is_seen(tmp_path: Path) -> None:
    record = {"kind": "tale", "correct": 24, "words": "abc"}
    run = RunFolder(tmp_path, Settings()).open()
    run.recorded("tale", lambda: record)
    content = run.record_path.read_bytes()
    believed = []
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        run.record_path.write_bytes(changed)
        try:
            believed.append(run.recorded("tale", lambda: pytest.fail("it was made again")))
        except UserError as error:
            assert "record.json" in str(error)
    assert believed == []


def test_a_record_that_is_no_file_is_one_line(tmp_path: Path) -> None:
    for make, message in ((Path.mkdir, "is a folder where a file belongs"), (os.mkfifo, "it is no regular file")):
        run = RunFolder(tmp_path / message, Settings()).open()
        make(run.record_path)
        with pytest.raises(UserError, match=message):
            run.recorded("tale", dict)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{1: 2, seed: 3}", "has 1 for an option's name"),
        ("[1, 2]", "holds list, not a mapping"),
        ("seed: {a: {b: 1}}", "seed ({'a': {'b': 1}} there, 3 now)"),
        ("name: " + "x" * 50_000, "name ('xxx"),
        ("".join(f"o{i}: {i}\n" for i in range(2_000)), "more; name another folder"),
    ],
)
def test_a_damaged_configuration_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError) as caught:
        RunFolder(tmp_path, Settings()).check()
    assert message in str(caught.value) and len(str(caught.value)) < 3_000


def test_a_configuration_that_is_no_file_is_one_line(tmp_path: Path) -> None:
    for number, make in enumerate((Path.mkdir, os.mkfifo)):
        (tmp_path / str(number)).mkdir()
        make(tmp_path / str(number) / "config.yaml")
        with pytest.raises(UserError, match="is no run folder"):
            RunFolder(tmp_path / str(number), Settings()).check()


@pytest.mark.parametrize("content", ["[]", '"a"', "3", "null", DEEP])
def test_damaged_inputs_are_one_line(content: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path, Settings()).open()
    (tmp_path / "inputs.json").write_text(content)
    with pytest.raises(UserError, match=r"inputs\.json is corrupted"):
        run.claim({"student": "sha256:1"})


@pytest.mark.parametrize("content", ["[]", '{"load": "x"}', '{"load": -1}', '{"load": true}', '{"load": [1]}', '{"load": 1e999}'])
def test_damaged_seconds_are_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "seconds.json").write_text(content)
    with pytest.raises(UserError, match=r"seconds\.json"):
        StageClock(tmp_path / "seconds.json")


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
from paced_exp.core.json_files import write_json
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
    (tmp_path / "results" / "desk").mkdir(parents=True)
    (tmp_path / "results" / "desk" / "cell.json").write_text("{}")
    assert git_state()["dirty"] is False  # a grid's own records
    (tmp_path / "site-packages" / "new.py").write_text("")
    assert git_state()["dirty"] is True


def test_provenance_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state() == {"commit": None, "dirty": None}
    assert provenance(None)["seed"] is None
