"""A folder of the cache that two processes make at the same time: the first one's stays, since its model may be in use, and nothing is left beside it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paced_exp.core.atomic import place_folder
from paced_exp.models import kept as ours
from paced_exp.models import saving
from tests.support.tiny_models import tiny_model, tiny_tokenizer


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "things"


def make(folder: Path) -> None:
    (folder / "weights").write_text("the same for every process")


def kept() -> Path:
    return ours.kept("things", Path("source.bin"), "0123456789abcdef0", make, "thing")


@pytest.fixture
def before_the_first_move(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Has a function called at the moment in which a folder is about to be removed or put in its place: too late for a check before that."""

    def arrange(other: Callable[[], Any]) -> None:
        waiting = [other]

        def first(real: Callable[..., Any]) -> Callable[..., Any]:
            def called(path: Any, *rest: Any, **options: Any) -> Any:
                if waiting and Path(path).is_dir() | (real is shutil.rmtree):
                    waiting.pop()()
                return real(path, *rest, **options)

            return called

        for module, name in ((shutil, "rmtree"), (os, "replace"), (os, "rename")):
            monkeypatch.setattr(module, name, first(getattr(module, name)))

    return arrange


def test_of_two_conversions_at_once_the_first_folder_stays(cache: Path, before_the_first_move: Callable[[Any], None]) -> None:
    seen: list[os.stat_result] = []
    before_the_first_move(lambda: seen.append(kept().stat()))
    folder = kept()
    assert os.path.samestat(folder.stat(), seen[0]), "the folder that the other process has opened was replaced"
    assert list(cache.iterdir()) == [folder] and (folder / "weights").read_text() == "the same for every process"
    assert kept() == folder


def test_of_two_models_saved_at_once_the_first_folder_stays(tmp_path: Path, before_the_first_move: Callable[[Any], None]) -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    seen: list[os.stat_result] = []
    before_the_first_move(lambda: seen.append(saving.save_model(model, tokenizer, tmp_path, "student").stat()))
    folder = saving.save_model(model, tokenizer, tmp_path, "student")
    assert os.path.samestat(folder.stat(), seen[0]), "the folder that the other process has opened was replaced"
    assert list(tmp_path.iterdir()) == [folder]


def test_an_incomplete_folder_is_replaced(cache: Path) -> None:
    folder = kept()
    (folder / ours.DONE).unlink()
    (folder / "weights").write_text("half")
    assert kept() == folder and (folder / "weights").read_text() == "the same for every process"
    assert list(cache.iterdir()) == [folder]


def test_what_cannot_be_replaced_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="Not a directory"):
        place_folder(tmp_path / "made", tmp_path / "file", lambda _: False)
    assert (tmp_path / "file").read_text() == "mine" and (tmp_path / "made").is_dir()
