"""Saves a model in memory to a folder for `load_model`. The folder is named by its content, so the same model gives the same folder."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paced_exp.core.atomic import place_folder
from paced_exp.core.errors import UserError
from paced_exp.models.tokenizer_settings import settings

_HAS_PATHS = "tokenizer_config.json"  # its content counts without paths and versions


def save_model(model: Any, tokenizer: Any, folder: Path, name: str) -> Path:
    """Write `model` and `tokenizer` in transformers' layout to folder/NAME-HASH, unless they are there already. Returns that folder.

    The hash is of the weights, the configuration, the tokenizer with its settings, such as the special tokens, and its chat template. So a run that
    reads the folder resumes with the same model, and is another run if a single weight has changed. Earlier versions left the settings out of the
    name; a folder of theirs is returned if it holds this model with these settings, so that their runs resume too.

    Raises `UserError`, naming the argument `name`, if `model` or `tokenizer` is not one of transformers.
    """
    if not isinstance(model, PreTrainedModel):
        how = "; merge its adapter first (merge_and_unload)" if hasattr(model, "merge_and_unload") else ""
        raise UserError(f"`{name}` holds a {type(model).__name__}, which is not a model of transformers{how}; give (model, tokenizer)")
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise UserError(f"`{name}` holds a {type(tokenizer).__name__} as its tokenizer; give (model, tokenizer), both of transformers")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as partial:
        made = Path(partial) / "model"
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        content = _content(made)

        def whole(saved: Path) -> bool:  # False after a kill of an earlier version, or if somebody has changed it
            return saved.is_dir() and _content(saved) == content

        earlier, saved = (folder / f"{name}-{digest[:16]}" for digest in (content[0], _digest(content)))
        if whole(earlier) and not whole(saved):
            return earlier
        if not whole(saved):
            place_folder(made, saved, whole)
    return saved


def _content(folder: Path) -> tuple[str, Any]:
    """The hash of all files but tokenizer_config.json, and that file's settings."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != _HAS_PATHS:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                while part := file.read(1 << 22):
                    digest.update(part)
    return digest.hexdigest(), settings(folder)


def _digest(content: tuple[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
