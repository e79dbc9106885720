"""A finished run is read back as long as the files that its options name are what they were, or are gone."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from paced_exp.core.errors import UserError
from paced_exp.core.named_files import changed_files, named_files
from paced_exp.core.run_folder import RunFolder


@dataclass(frozen=True)
class Settings:
    """A configuration."""

    problems: str = "lab:train"
    student: str = "lab:student"
    references: str | None = None
    weights: str | None = None
    against: Literal["loss", "accuracy"] = "loss"
    method: str = "paced"
    out: str = "run"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text("one\n")
    Path("b.jsonl").write_text("two\n")
    Path("model").mkdir()
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        Path("model", name).write_text(name)
    Path("other").mkdir()
    Path("other", "config.yaml").write_text("seed: 1\n")
    Path("other", "references.parquet").write_text("table")


def test_files_are_found_where_options_name_them() -> None:
    Path("paced").write_text("another option's value")
    Path("accuracy").write_text("one of a fixed list")
    config = Settings(problems="a.jsonl, b.jsonl,lab:train", student="model", references="other", weights="none.jsonl", against="accuracy")
    found = named_files(config)
    assert {option: list(files) for option, files in found.items()} == {
        "problems": ["a.jsonl", "b.jsonl"],
        "student": ["model/config.json", "model/tokenizer_config.json", "model/model.safetensors"],
        "references": ["other/references.parquet"],
    }
    assert len({digest for files in found.values() for digest in files.values()}) == 6
    assert named_files(Settings()) == {}


@pytest.mark.parametrize("value", ["", ",", "~nobody-of-this-name/x", "a\0b", "x" * 5000, "hub:a/b", "none", "."])
def test_text_that_names_no_file_is_none(value: str) -> None:
    Path("config.yaml").write_text("a run's folder without tables")
    assert named_files(Settings(problems=value)) == {}


def test_a_file_that_cannot_be_read_is_as_one_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    assert named_files(Settings(problems="a.jsonl")) == {}


def test_a_path_with_a_comma_is_one_file() -> None:
    Path("a,b.jsonl").write_text("x")
    assert list(named_files(Settings(problems="a,b.jsonl"))["problems"]) == ["a,b.jsonl"]


@pytest.mark.parametrize("place", [0.0, 0.37, 1.0])
def test_of_large_weights_blocks_are_read_from_end_to_end(place: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of a whole block's width is seen wherever it lies, and so is another size; a small file is read whole."""
    monkeypatch.setattr("paced_exp.core.named_files._BLOCKS", 16)
    monkeypatch.setattr("paced_exp.core.named_files._BLOCK", 64)
    path = Path("model", "model.safetensors")
    for size, width in ((16 * 64 * 10, 2 * 16 * 64 * 10 // 16), (16 * 64, 1)):
        content = os.urandom(size)
        path.write_bytes(content)
        before = named_files(Settings(student="model"))
        assert changed_files(before, Settings(student="model")) == []
        start = int(place * (size - width))
        path.write_bytes(content[:start] + bytes(255 - byte for byte in content[start : start + width]) + content[start + width :])
        assert changed_files(before, Settings(student="model")) == ["`student` model/model.safetensors"]
        path.write_bytes(content + b"0")
        assert changed_files(before, Settings(student="model")) == ["`student` model/model.safetensors"]


CONFIG = Settings(problems="a.jsonl,b.jsonl", student="model", references="other")

CHANGES: list[tuple[Callable[[], Any], str]] = [
    (lambda: Path("b.jsonl").write_text("three\n"), "`problems` b.jsonl"),
    (lambda: Path("model", "model.safetensors").write_text("trained"), "`student` model/model.safetensors"),
    (lambda: Path("model", "tokenizer_config.json").write_text("{}"), "`student` model/tokenizer_config.json"),
    (lambda: Path("model", "chat_template.jinja").write_text("new"), "`student` model/chat_template.jinja"),
    (lambda: Path("other", "references.parquet").write_text("made again"), "`references` other/references.parquet"),
]

HARMLESS: list[Callable[[], Any]] = [
    lambda: None,
    lambda: Path("a.jsonl").unlink(),
    lambda: Path("model", "model.safetensors").unlink(),
    lambda: shutil.rmtree("model"),
    lambda: shutil.rmtree("other"),
    lambda: Path("model", "README.md").write_text("a card"),
    lambda: Path("model", "scores.json").write_text("{}"),
    lambda: Path("other", "scores.parquet").write_text("a table of later"),
    lambda: os.utime("a.jsonl"),
    lambda: Path("run", "files.json").unlink(),  # of an earlier version
]


def finished() -> RunFolder:
    run = RunFolder("run", CONFIG)
    run.recorded("tale", lambda: {"kind": "tale", "files": [str(run.open().path)]})
    return run


@pytest.mark.parametrize(("change", "what"), CHANGES)
def test_a_finished_run_is_refused_after_a_named_file_has_changed(change: Callable[[], Any], what: str) -> None:
    run = finished()
    change()
    with pytest.raises(UserError) as caught:
        run.recorded("tale", lambda: pytest.fail("it was made again"))
    message = (
        f"`out` run holds a run that was finished before {what} changed; bring back what it read, name another folder, or delete this one"
    )
    assert str(caught.value) == message


@pytest.mark.parametrize("change", HARMLESS)
def test_a_finished_run_is_read_back_without_its_files_and_with_new_ones_beside_them(change: Callable[[], Any]) -> None:
    run = finished()
    change()
    assert run.recorded("tale", lambda: pytest.fail("it was made again"))["kind"] == "tale"


def test_several_changed_files_are_counted() -> None:
    run = finished()
    for change, _ in CHANGES[:3]:
        change()
    with pytest.raises(UserError, match=r"finished before `problems` b\.jsonl and 2 more files changed"):
        run.recorded("tale", dict)


def test_what_was_mended_before_the_last_start_is_no_change() -> None:
    """A run that stopped at a file with a fault goes on with the mended file, and is read back with it."""
    run = RunFolder("run", CONFIG)

    def fail() -> dict[str, Any]:
        run.open()
        raise UserError("b.jsonl has a fault")

    with pytest.raises(UserError, match="has a fault"):
        run.recorded("tale", fail)
    Path("b.jsonl").write_text("mended\n")
    finished()
    assert finished().recorded("tale", dict)["kind"] == "tale"


@pytest.mark.parametrize("content", ["[]", "{", '{"problems": 3}', '{"problems": {"a.jsonl": 3}}'])
def test_a_damaged_list_of_files_is_one_line_or_no_list(content: str) -> None:
    run = finished()
    (run / "files.json").write_text(content)
    if content == '{"problems": 3}':
        assert run.recorded("tale", dict)["kind"] == "tale"
    else:
        with pytest.raises(UserError, match=r"files\.json is corrupted|finished before `problems` a\.jsonl changed"):
            run.recorded("tale", dict)


def test_the_list_is_of_the_options_files_by_content() -> None:
    run = finished()
    assert json.loads((run / "files.json").read_text()) == named_files(CONFIG)
