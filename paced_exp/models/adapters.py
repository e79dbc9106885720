"""LoRA adapters as models: a folder of the library peft is merged once into its base, and the result is loaded like any other folder.

`smollm2-student` and `smollm2-teacher` are shipped: adapters of SmolLM2-135M-Instruct that `python -m paced_exp.lab finetune` made.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from paced_exp.core.errors import UserError
from paced_exp.core.extras import install
from paced_exp.models.kept import kept, sha256
from paced_exp.models.lab_checkpoints import ADAPTERS, adapter_path

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CARD = ("README.md", "card.json")  # what is said of an adapter, or of its base, changes nothing of what it is
_OF_BASE = (".safetensors", ".json", ".jinja", ".txt")  # weights, configurations, tokenizer and chat template: all that merging reads


def adapter_folder(spec: str) -> Path | None:
    """The folder of the adapter that `spec` names; None if it names none. Raises `UserError` where a shipped one is missing."""
    if spec in ADAPTERS:
        folder = adapter_path(spec)
        if not (folder / CONFIG).exists():
            raise UserError(f"{spec} has no adapter at {folder}; make it with: python -m paced_exp.lab finetune {spec}")
        return folder
    folder = Path(spec).expanduser()
    return folder if spec and (folder / CONFIG).is_file() else None


def merged(folder: Path, spec: str, base_folder: Callable[[str], Path]) -> Path:
    """The folder of the base with the adapter in `folder` merged into it, made if it is not in the cache.

    base_folder: finds the folder of the base, which the adapter names. The adapter's own tokenizer files, such as a chat template, win over the
    base's. Raises `UserError` for an adapter that is damaged or not of its base.
    """
    base = _base_of(folder, spec)
    if adapter_folder(base) is not None:
        raise UserError(f"model {spec}: its base {base} is an adapter itself; merge that first and name the merged folder as the base")
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"model {spec}: {folder / WEIGHTS} is missing; save the adapter as safetensors")
    source = base_folder(base)
    digest = hashlib.sha256()
    read = [path for path in sorted(folder.iterdir()) if path.is_file()]
    read += [path for path in sorted(source.iterdir()) if path.suffix in _OF_BASE and path.is_file()]
    for path in read:
        if path.name not in CARD:
            digest.update(f"{path.name} {sha256(path)}\n".encode())
    return kept("adapters", folder.resolve(), digest.hexdigest(), lambda made: _merge(folder, source, made, spec), spec)


def _base_of(folder: Path, spec: str) -> str:
    """What the adapter says its base is. Raises `UserError` for another kind of adapter, or one whose configuration names code to import."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        base, kind = config["base_model_name_or_path"], config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"model {spec}: {folder / CONFIG} is no configuration of an adapter ({error!s:.200}); save the adapter again"
        ) from error
    if kind != "LORA" or not isinstance(base, str) or not base:
        raise UserError(
            f"model {spec}: {folder / CONFIG} is of type {kind!s:.40} with the base {base!s:.80}; take a LORA adapter that names its base"
        )
    if named := [name for name in ("auto_mapping", "megatron_config") if config.get(name)]:
        raise UserError(f"model {spec}: {folder / CONFIG} sets {named[0]}, which makes peft import modules that it names; take it out")
    return base


def _merge(folder: Path, source: Path, made: Path, spec: str) -> None:
    try:
        from peft import PeftModel  # of the extra `lora`, which only adapters need
    except ModuleNotFoundError:
        raise UserError(f"model {spec} is an adapter, and the package peft is not installed; run: {install('lora')}") from None
    auto_class: Any = AutoModelForCausalLM
    base = auto_class.from_pretrained(source, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, local_files_only=True)
    try:
        model: Any = PeftModel.from_pretrained(base, str(folder)).merge_and_unload()
    except Exception as error:  # peft and torch raise whatever a wrong shape or a damaged file leads to
        raise UserError(f"model {spec}: the adapter in {folder} does not fit its base ({type(error).__name__}: {error!s:.200})") from error
    model.save_pretrained(made)
    tokens = folder if (folder / "tokenizer.json").exists() else source
    tokenizer: Any = AutoTokenizer.from_pretrained(tokens, trust_remote_code=False, local_files_only=True)
    if (folder / "chat_template.jinja").exists():
        tokenizer.chat_template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    tokenizer.save_pretrained(made)
