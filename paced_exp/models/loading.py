"""Loads students and teachers: `lab:NAME`, `smollm2`, a folder in transformers' layout, a GGUF file, or a hub id. All checks of models are here.

Files are untrusted. Only safetensors weights are read, and a model with Python code of its own is refused. Some warnings of transformers are
errors here: weights that do not fill the architecture, and a tokenizer with more ids than embeddings.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from paced_exp.core.errors import UserError
from paced_exp.models.adapters import adapter_folder, merged
from paced_exp.models.gguf import converted, is_gguf
from paced_exp.models.hub import download, download_config
from paced_exp.models.lab_checkpoints import checkpoint_path
from paced_exp.models.templates import check_template
from paced_exp.models.tokenizer_settings import beyond_files

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}

_INDEX = "model.safetensors.index.json"
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "model.pt")
# With the weights and `beyond_files`, these files determine a rollout, apart from the sampler and the template (which has its own hash, see
# pass_rates).
_FINGERPRINTED = ("config.json", "generation_config.json", "tokenizer.json")


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to read and write tokens.

    model: in eval mode on `device`. tokenizer: with a chat template. spec: as the user named it. eos_ids: all ids that end a response.
    pad_id: id at masked positions. fingerprint: `sha256:...` of what determines its output, or `hub:COMMIT`.
    """

    model: Any
    tokenizer: Any
    spec: str
    eos_ids: tuple[int, ...]
    pad_id: int
    device: torch.device
    fingerprint: str


def load_model(spec: str, *, device: str = "auto", dtype: str = "auto") -> LoadedModel:
    """Load the model that `spec` names.

    spec: `lab:NAME`, `smollm2`, a folder, a GGUF file, or a hub id. device: `auto` (the GPU if there is one), `cpu`, `cuda`, `cuda:N`. dtype:
    `auto` (float32 on a CPU, the checkpoint's dtype on a GPU), `float32`, `bfloat16`, `float64`. Raises `UserError` naming the file or option
    at fault.
    """
    place = device_named(device)
    if dtype != "auto" and dtype not in DTYPES:
        raise UserError(f"`dtype` {dtype} is not known; known: auto, {', '.join(DTYPES)}")
    folder, commit = _locate(spec)
    config = _read_json(folder / "config.json", spec)
    _refuse_code(folder, config, spec)
    weights = _weight_files(folder, spec)
    _check_size(config, weights, folder, spec)
    with _quietly():
        tokenizer = _load_tokenizer(folder, spec)
        chosen: Any = DTYPES.get(dtype) or (torch.float32 if place.type == "cpu" else "auto")
        model = _load_weights(folder, spec, chosen).to(place).eval()
    _check_tokenizer_fits(tokenizer, model, spec)
    eos_ids = _eos_ids(tokenizer, model, spec)
    pad_id = eos_ids[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    fingerprint = f"hub:{commit}" if commit else _fingerprint(folder, weights, beyond_files(tokenizer, model, folder))
    return LoadedModel(model, tokenizer, spec, eos_ids, pad_id, place, fingerprint)


def check_same_vocabulary(student: LoadedModel, teacher: LoadedModel) -> None:
    """Raise `UserError` unless the teacher reads the student's token ids as the same tokens.

    The maps from tokens to ids and the end-of-sequence ids are compared. The widths of the embeddings prove nothing: they are padded, and
    equal widths can belong to different tokens.
    """
    ours, theirs = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    pair = f"student {student.spec} and teacher {teacher.spec}"
    fix = "take a teacher of the student's model family"
    differing = sorted(token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token))
    if differing:
        token = differing[0]
        raise UserError(
            f"{pair} have different vocabularies: {len(differing)} tokens differ, for example {token!r} is id {_id(ours, token)} for the student and {_id(theirs, token)} for the teacher; {fix}"
        )
    ends = student.tokenizer.eos_token_id, teacher.tokenizer.eos_token_id
    if ends[0] != ends[1]:
        raise UserError(f"{pair} end their responses with different tokens: ids {ends[0]} and {ends[1]}; {fix}")


def _id(vocabulary: dict[str, int], token: str) -> str:
    return str(vocabulary.get(token, "absent"))


def device_named(name: str) -> torch.device:
    """The device called `auto` (the GPU if there is one), `cpu`, `cuda` or `cuda:N`. Raises `UserError` for another name or a missing GPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name != "cpu" and not re.fullmatch(r"cuda(:\d+)?", name):
        raise UserError(f"`device` {name} is not known; known: auto, cpu, cuda, cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"`device` {name} is not there: PyTorch sees {torch.cuda.device_count()} CUDA devices; take cpu or auto")
    return device


def config_of(spec: str) -> dict[str, Any]:
    """The content of a model's config.json, without its weights. Raises `UserError` as `load_model` does."""
    folder, _ = _locate(spec, download_config)
    return _read_json(folder / "config.json", spec)


def _locate(spec: str, fetch: Callable[[str], tuple[Path, str]] = download) -> tuple[Path, str | None]:
    """The folder with the model's files, and their commit if they come from the hub, by `fetch`."""
    if spec.startswith("lab:"):
        folder = checkpoint_path(spec.removeprefix("lab:"))
        if not folder.is_dir():
            raise UserError(f"{spec} has no checkpoint at {folder}; rebuild it with: python -m paced_exp.lab pretrain {folder.name}")
        return folder, None
    if (adapter := adapter_folder(spec)) is not None:
        with _quietly():
            return merged(adapter, spec, lambda base: _locate(base)[0]), None
    folder = Path(spec).expanduser()
    if spec and folder.is_dir():
        return folder, None
    if is_gguf(spec):
        with _quietly():
            return converted(spec), None
    if spec and folder.exists():
        raise UserError(f"model {spec} is a file; name the folder that holds config.json and the safetensors weights")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", spec):
        raise UserError(f"model {spec!r} is no folder and cannot be a hub id (OWNER/NAME); check the path")
    return fetch(spec)


def _read_json(path: Path, spec: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"model {spec} has no {path.name} in {path.parent}; name a folder in transformers' layout") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"model {spec}: {path} is not readable JSON ({error!s:.200}); copy or download it again") from error
    if not isinstance(value, dict):
        raise UserError(f"model {spec}: {path} holds no JSON object; copy or download it again")
    return value


def _refuse_code(folder: Path, config: dict[str, Any], spec: str) -> None:
    tokenizer_path = folder / "tokenizer_config.json"
    tokenizer_config = _read_json(tokenizer_path, spec) if tokenizer_path.exists() else {}
    for name, values in (("config.json", config), ("tokenizer_config.json", tokenizer_config)):
        if "auto_map" in values:
            raise UserError(
                f"model {spec} has its own Python code (auto_map in {name}), which is never run here; "
                "take a model that transformers implements"
            )


def _weight_files(folder: Path, spec: str) -> list[Path]:
    """The safetensors files of the model. Each is opened, to check that it is complete."""
    if (folder / _INDEX).exists():
        shards = _read_json(folder / _INDEX, spec).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise UserError(f"model {spec}: {folder / _INDEX} has no weight_map; copy or download it again")
        files = [folder / str(name) for name in sorted(set(shards.values()))]
    else:
        files = [folder / "model.safetensors"]
    missing = [path for path in files if not path.exists()]
    if missing:
        pickled = [name for name in _PICKLED if (folder / name).exists()]
        if pickled:
            raise UserError(
                f"model {spec} only has pickled weights ({pickled[0]}), which can run code when loaded; convert them to safetensors"
            )
        raise UserError(f"model {spec} has no weights: {missing[0]} is missing; copy or download it again")
    for path in files:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"model {spec}: {path} is truncated or damaged ({error!s:.200}); copy or download it again") from error
    return files


def _check_size(config: dict[str, Any], weights: list[Path], folder: Path, spec: str) -> None:
    """Refuse a config.json of a model far larger than its weights. To build it would exhaust the memory, or take forever."""
    named = (config.get(name) for name in ("hidden_size", "vocab_size", "intermediate_size", "num_hidden_layers"))
    sizes = [size if isinstance(size, int) else 0 for size in named]  # transformers refuses other types
    hidden, vocabulary, inner, layers = sizes
    # Even two bits per parameter allow four parameters per byte.
    allowed = 4 * sum(path.stat().st_size for path in weights)
    if max(hidden * vocabulary, hidden * inner * layers, layers) > allowed:
        raise UserError(
            f"model {spec}: {folder / 'config.json'} describes a model much larger than its weights (hidden_size {hidden:.6g}, vocab_size "
            f"{vocabulary:.6g}, intermediate_size {inner:.6g}, num_hidden_layers {layers:.6g}); take weights and config.json of one model"
        )


def _load_tokenizer(folder: Path, spec: str) -> Any:
    if not (folder / "tokenizer.json").exists():
        raise UserError(f"model {spec} has no tokenizer.json in {folder}; save its fast tokenizer there")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the tokenizers library raises plain Exception for a damaged file
        raise UserError(f"model {spec}: its tokenizer in {folder} cannot be read ({error!s:.200}); copy or download it again") from error
    if not tokenizer.chat_template:
        raise UserError(f"model {spec} has no chat template; take its instruction-tuned version, or add chat_template.jinja to {folder}")
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:  # several templates without a default
        raise UserError(f"model {spec} has no default chat template ({error!s:.200}); add chat_template.jinja to {folder}") from error
    check_template(template, tokenizer.special_tokens_map, f"{spec} in {folder}")
    return tokenizer


def _load_weights(folder: Path, spec: str, dtype: Any) -> Any:
    auto_class: Any = AutoModelForCausalLM
    try:
        # Tensors of the wrong shape are accepted here and named below, since the error of transformers only points to a log.
        model, report = auto_class.from_pretrained(
            folder,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # an invalid config.json can raise anything, such as a division by zero
        reason = f"{type(error).__name__}: {error!s:.200}"
        raise UserError(f"model {spec} in {folder} is not a causal language model that transformers can load ({reason})") from error
    absent, wrong = sorted(report["missing_keys"]), sorted(report["mismatched_keys"])
    if wrong:
        name, stored, wanted = wrong[0]
        raise UserError(
            f"model {spec}: {len(wrong)} tensors of the weights in {folder} do not have the shapes of config.json, for example {name} is "
            f"{list(stored)} and should be {list(wanted)}; take weights and config.json of one model"
        )
    if absent:
        raise UserError(
            f"model {spec}: the weights in {folder} lack {len(absent)} tensors that config.json asks for, for example {absent[0]}; "
            "copy or download it again"
        )
    if unused := sorted(report["unexpected_keys"]):
        logger.warning("model %s: %d tensors of the weights are not used, for example %s", spec, len(unused), unused[0])
    return model


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide the progress bars and warnings of transformers; the warnings that matter are errors here."""
    bars, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _check_tokenizer_fits(tokenizer: Any, model: Any, spec: str) -> None:
    rows = model.get_input_embeddings().num_embeddings
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest >= rows:
        raise UserError(
            f"model {spec}: its tokenizer has ids up to {largest} ({token!r}), but the model embeds {rows} tokens; "
            "use the tokenizer it was trained with"
        )


def _eos_ids(tokenizer: Any, model: Any, spec: str) -> tuple[int, ...]:
    """All end-of-sequence ids of the tokenizer, the generation config and the model config, the tokenizer's first."""
    found: list[int] = []
    for value in (tokenizer.eos_token_id, model.generation_config.eos_token_id, model.config.get_text_config().eos_token_id):
        found += value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    if not found:
        raise UserError(f"model {spec} has no end-of-sequence token; set eos_token in tokenizer_config.json")
    rows = model.get_input_embeddings().num_embeddings
    outside = [token for token in found if not 0 <= token < rows]
    if outside:
        raise UserError(
            f"model {spec}: end-of-sequence id {outside[0]} is outside the model's {rows} embeddings; correct eos_token_id in its config files"
        )
    return tuple(dict.fromkeys(found))


def _fingerprint(folder: Path, weights: list[Path], beyond: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for path in [*weights, *(folder / name for name in _FINGERPRINTED)]:
        if path.exists():
            digest.update(json.dumps([path.name, path.stat().st_size]).encode())
            with path.open("rb") as file:
                while part := file.read(1 << 22):
                    digest.update(part)
    if beyond:
        digest.update(json.dumps(beyond, sort_keys=True).encode())
    return f"sha256:{digest.hexdigest()}"
