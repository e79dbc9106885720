"""A model in memory as a folder that `load_model` reads, named by what is in it: the same model gives the same folder again."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paced_exp.core.errors import UserError

_NOT_CONTENT = ("tokenizer_config.json",)  # it names paths and versions; tokens and template stand in files of their own


def save_model(model: Any, tokenizer: Any, folder: Path, name: str) -> Path:
    """Write `model` and `tokenizer` in transformers' layout, safetensors only, to folder/NAME-HASH, if they are not there already; returns that folder.

    The hash is of the weights, the configuration, the tokenizer and its chat template, so that a run which reads the folder goes on when it is
    started again with the same model, and is another run when a single weight has changed. Raises `UserError`, naming the argument `name`, for
    what is no model or no tokenizer of transformers.
    """
    if not isinstance(model, PreTrainedModel):
        how = "; merge its adapter first (merge_and_unload)" if hasattr(model, "merge_and_unload") else ""
        raise UserError(f"`{name}` holds a {type(model).__name__}, which is no model of transformers{how}; give (model, tokenizer)")
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise UserError(f"`{name}` holds a {type(tokenizer).__name__} for a tokenizer; give (model, tokenizer), both of transformers")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as partial:
        made = Path(partial) / "model"
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        digest = _digest(made)
        saved = folder / f"{name}-{digest[:16]}"
        if not (saved.is_dir() and _digest(saved) == digest):
            shutil.rmtree(saved, ignore_errors=True)  # what a kill left, or somebody changed
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
