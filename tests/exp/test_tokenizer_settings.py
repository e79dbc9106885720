"""A model is another one when its tokenizer's settings are, which only tokenizer_config.json holds, and the same one when paths and versions differ."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors
from transformers import AutoTokenizer

from paced_exp.models.loading import LoadedModel, load_model
from paced_exp.models.saving import save_model
from paced_exp.models.tokenizer_settings import beyond_files
from tests.support.tiny_models import EOS, OTHER_EOS, PAD, tiny_model, tiny_tokenizer


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "tokenizer_config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in content.items() if value != "absent"}))


def loaded(folder: Path) -> LoadedModel:
    return load_model(str(folder), device="cpu")


def of_files(folder: Path) -> str:
    """The hash of the files alone, as it was before settings were a part of it."""
    digest = hashlib.sha256()
    for name in ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json"):
        content = (folder / name).read_bytes()
        digest.update(json.dumps([name, len(content)]).encode() + content)
    return f"sha256:{digest.hexdigest()}"


def test_settings_that_the_other_files_imply_change_no_hash(folder: Path) -> None:
    """So that cards, run folders and files of pass rates that hold an earlier hash stay valid."""
    assert loaded(folder).fingerprint == of_files(folder)


SETTINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"eos_token": "<end>"}, {"eos_token": OTHER_EOS}),
    ({"pad_token": "<end>"}, {"pad_token": OTHER_EOS}),
    ({"pad_token": "absent"}, {"pad_token": None}),
    ({"clean_up_tokenization_spaces": True}, {"clean_up_tokenization_spaces": True}),
    ({"split_special_tokens": True}, {"split_special_tokens": True}),
]


@pytest.mark.parametrize(("changes", "expected"), SETTINGS)
def test_what_the_settings_change_is_in_the_hash(folder: Path, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    before = loaded(folder)
    edit(folder, **changes)
    after = loaded(folder)
    found = beyond_files(after.tokenizer, after.model, folder)
    assert {name: value for name, value in found.items() if name != "added_tokens"} == expected
    assert after.fingerprint != before.fingerprint == of_files(folder)


def test_the_end_of_a_response_is_in_the_hash(folder: Path) -> None:
    before = loaded(folder)
    edit(folder, eos_token="<end>")
    after = loaded(folder)
    assert (before.eos_ids, after.eos_ids) == ((EOS,), (OTHER_EOS, EOS)) and before.fingerprint != after.fingerprint


def test_a_token_that_is_special_only_by_the_settings_is_in_the_hash(folder: Path) -> None:
    before = loaded(folder)
    edit(folder, extra_special_tokens=["7"])
    after = loaded(folder)
    ids = after.tokenizer("7")["input_ids"]
    decoded = [model.tokenizer.decode(ids, skip_special_tokens=True) for model in (before, after)]
    assert decoded == ["7", ""] and before.fingerprint != after.fingerprint


def test_another_class_of_tokenizer_is_in_the_hash(folder: Path) -> None:
    """The class builds its own normalizer and pre-tokenizer, whatever tokenizer.json says."""
    before = loaded(folder)
    edit(folder, tokenizer_class="LlamaTokenizer")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("1 +2=")["input_ids"] != before.tokenizer("1 +2=")["input_ids"], "otherwise nothing is to be seen"
    assert beyond_files(tokenizer, before.model, folder).keys() & {"normalizer", "pre_tokenizer", "decoder"}


def test_tokens_put_around_a_text_count_where_the_file_does_not_put_them(folder: Path) -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", EOS)])
    assert tokenizer("1")["input_ids"][-1] == EOS and list(beyond_files(tokenizer, model, folder)) == ["post_processor"]
    tokenizer.save_pretrained(folder)
    assert beyond_files(AutoTokenizer.from_pretrained(folder), model, folder) == {}


@pytest.mark.parametrize(
    ("template", "counts"), [("{{ messages[0].content }}>", False), ("{{ bos_token }}{{ messages[0].content }}>", True)]
)
def test_a_token_that_only_a_template_reads_counts_where_the_template_reads_it(folder: Path, template: str, counts: bool) -> None:
    (folder / "chat_template.jinja").write_text(template)
    before = loaded(folder)
    edit(folder, bos_token="<eos>")
    after = loaded(folder)
    prompts = {model.tokenizer.apply_chat_template([{"role": "user", "content": "1"}], tokenize=False) for model in (before, after)}
    assert (len(prompts) == 2) == counts == (before.fingerprint != after.fingerprint)


@pytest.mark.parametrize(
    "changes", [{"name_or_path": "/elsewhere"}, {"transformers_version": "9.9"}, {"is_local": False}, {"vocab_file": "/x"}]
)
def test_paths_and_versions_change_nothing(saved: Path, folder: Path, changes: dict[str, Any], tmp_path: Path) -> None:
    edit(folder, **changes)
    models = loaded(saved), loaded(folder)
    assert models[0].fingerprint == models[1].fingerprint
    assert len({save_model(model.model, model.tokenizer, tmp_path / "saved", "student") for model in models}) == 1


# ---- saving


def end_otherwise(tokenizer: Any) -> None:
    tokenizer.eos_token = "<end>"


def begin_otherwise(tokenizer: Any) -> None:
    tokenizer.bos_token = "<eos>"


def pad_otherwise(tokenizer: Any) -> None:
    tokenizer.pad_token = "<end>"


@pytest.mark.parametrize("change", [end_otherwise, begin_otherwise, pad_otherwise])
def test_a_model_with_other_special_tokens_is_saved_to_another_folder(change: Callable[[Any], None], tmp_path: Path) -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    first = save_model(model, tokenizer, tmp_path, "student")
    change(tokenizer)
    second = save_model(model, tokenizer, tmp_path, "student")
    assert first != second and loaded(second).tokenizer.special_tokens_map == tokenizer.special_tokens_map
    assert save_model(model, tiny_tokenizer(), tmp_path, "student") == first and save_model(model, tokenizer, tmp_path, "student") == second
    assert loaded(first).pad_id == PAD and loaded(first).eos_ids == (EOS,)


def test_settings_that_somebody_changed_in_the_folder_are_written_again(tmp_path: Path) -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    folder = save_model(model, tokenizer, tmp_path, "student")
    for damage in (lambda: edit(folder, eos_token="<end>"), lambda: (folder / "tokenizer_config.json").write_text("[")):
        damage()
        assert save_model(model, tokenizer, tmp_path, "student") == folder and loaded(folder).eos_ids == (EOS,)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_of_an_earlier_version_is_taken_if_it_holds_the_model(tmp_path: Path) -> None:
    """Its name is the hash without the settings; a run whose configuration names it must go on."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    folder = save_model(model, tokenizer, tmp_path, "student")
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name != "tokenizer_config.json":
            digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    earlier = folder.rename(tmp_path / f"student-{digest.hexdigest()[:16]}")
    assert save_model(model, tokenizer, tmp_path, "student") == earlier
    tokenizer.eos_token = "<end>"
    assert save_model(model, tokenizer, tmp_path, "student") != earlier
