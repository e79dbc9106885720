"""What a tokenizer does that no other file of its model says.

Under transformers 5, tokenizer_config.json alone names the special tokens, and it can change how text is split. The file also holds paths and
versions, which differ between copies of one model. So a hash of a model covers what the file changes, and not the file.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

_DECISIVE = ("eos_token", "pad_token")  # a response ends with the one, masked positions hold the other; further ones only reach a template
_SWITCHES = ("clean_up_tokenization_spaces", "split_special_tokens")  # change decoded texts and read prompts; off in tokenizer.json
_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_ADDED = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
_PATHS_AND_VERSIONS = ("backend", "is_local", "local_files_only", "name_or_path", "tokenizer_file", "transformers_version", "vocab_file")


def beyond_files(tokenizer: Any, model: Any, folder: Path) -> dict[str, Any]:
    """What `tokenizer` does otherwise than tokenizer.json in `folder` and the configurations of `model` say. Empty where it does as they say.

    Empty is the common case. Then a model keeps the hash that it had before this was a part of it, and what stores the hash stays valid: the cards
    of the lab's checkpoints, run folders, files of pass rates, caches.

    The keys: a special token whose id is not the first one that a configuration gives (None if it has no such token); a switch that is on; parts
    of the tokenizer, such as its normalizer or the BOS and EOS that it adds, that are not as in the file; added tokens that are not.
    """
    found: dict[str, Any] = {}
    template = str(tokenizer.chat_template)
    named = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    for name in sorted({*named, *_DECISIVE, "bos_token"}):
        identifier = tokenizer.convert_tokens_to_ids(named[name]) if name in named else None
        if (name in _DECISIVE or name in template) and identifier != _configured(model, f"{name}_id"):
            found[name] = identifier
    found |= {name: True for name in _SWITCHES if getattr(tokenizer, name, False)}
    if tokenizer.is_fast and (folder / "tokenizer.json").exists():
        found |= _other_parts(tokenizer.backend_tokenizer, json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
    return found


def settings(folder: Path) -> dict[str, Any] | None:
    """The content of tokenizer_config.json in `folder` without paths and versions. None if it is missing or damaged."""
    try:
        content = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return {name: value for name, value in content.items() if name not in _PATHS_AND_VERSIONS} if isinstance(content, dict) else None


def _configured(model: Any, name: str) -> int | None:
    """The first id that a configuration of the model gives a special token."""
    for config in (model.generation_config, model.config.get_text_config()):
        value = getattr(config, name, None)
        value = next(iter(value), None) if isinstance(value, list | tuple) else value
        if value is not None:
            return int(value)
    return None


def _other_parts(backend: Tokenizer, file: dict[str, Any]) -> dict[str, Any]:
    """The parts of `backend`, and its added tokens by id, that are not as in the content of a tokenizer.json."""
    # Read by the same library, so that what it writes otherwise than the file does not count. Without the vocabulary this takes a millisecond.
    empty = {"type": "WordLevel", "vocab": {}, "unk_token": ""}
    plain = Tokenizer.from_str(json.dumps({**file, "added_tokens": [], "model": empty, "truncation": None, "padding": None}))
    found = {part: _state(backend, part) for part in _PARTS if _state(backend, part) != _state(plain, part)}
    listed = {each["id"]: {name: each.get(name) for name in _ADDED} for each in file.get("added_tokens") or []}
    ours = {number: {name: getattr(each, name) for name in _ADDED} for number, each in backend.get_added_tokens_decoder().items()}
    differing = sorted(number for number in listed.keys() | ours.keys() if listed.get(number) != ours.get(number))
    return found | ({"added_tokens": [[number, ours.get(number)] for number in differing]} if differing else {})


def _state(backend: Tokenizer, part: str) -> Any:
    value: Any = getattr(backend, part)
    return None if value is None else json.loads(value.__getstate__())
