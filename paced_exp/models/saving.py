"""Saves a model in memory to a folder for `load_model`. The folder is named by its content, so the same model gives the same folder."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paced_exp.core.errors import UserError

_NOT_CONTENT = ("tokenizer_config.json",)  # only paths and versions; tokens and template have files of their own


def save_model(model: Any, tokenizer: Any, folder: Path, name: str) -> Path:
    """Write `model` and `tokenizer` in transformers' layout to folder/NAME-HASH, unless they are there already. Returns that folder.

    The hash is of the weights, the configuration, the tokenizer and its chat template. So a run that reads the folder resumes with the same
    model, and is another run if a single weight has changed. Raises `UserError`, naming the argument `name`, if `model` or `tokenizer` is not one
    of transformers.
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
        digest = _digest(made)
        saved = folder / f"{name}-{digest[:16]}"
        if not (saved.is_dir() and _digest(saved) == digest):
            shutil.rmtree(saved, ignore_errors=True)  # incomplete after a kill, or changed by somebody
            os.replace(made, saved)
    return saved


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name not in _NOT_CONTENT:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                while part := file.read(1 << 22):
                    digest.update(part)
    return digest.hexdigest()
