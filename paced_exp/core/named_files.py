"""The content of the files that a run's options name, so that a finished run notices when one of them has changed."""

import hashlib
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Options that name problems, models, weights, or other runs. Another option's value may happen to be the name of a file too.
_OPTIONS = (
    "problems",
    "accuracy_problems",
    "rehearsal",
    "evaluate",
    "student",
    "teacher",
    "model",
    "weights",
    "pass_rates",
    "references",
    "rollouts_from",
    "against",
    "base_evaluation",
)
_OF_MODEL = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "adapter_config.json",
)
_WEIGHTS = (".safetensors", ".gguf")
_BLOCKS, _BLOCK = 256, 1 << 18  # of a file of weights: 64 MiB in all


def named_files(config: "DataclassInstance") -> dict[str, dict[str, str]]:
    """For each option that names files which are there: their paths, as the option spells them, and a SHA-256 of each.

    Of a model's folder, these are its configurations, tokenizer, template and weights; of a run's folder, its tables. Names of other sources, such
    as lab: and hub:, have no files. Of a large file of weights, 256 blocks are read and not all of it: training changes all weights, and a run
    that is only read back should not take as long as loading its models.
    """
    hints = get_type_hints(type(config))
    found = {}
    for option in _OPTIONS:
        value = getattr(config, option, None)
        if isinstance(value, str) and get_origin(hints[option]) is not Literal:
            digests = {str(path): digest for path in _named_by(value) if (digest := _digest(path)) is not None}
            if digests:
                found[option] = digests
    return found


def changed_files(stored: dict[str, Any], config: "DataclassInstance") -> list[str]:
    """The files that differ from those in `stored`, an earlier `named_files`, each with its option in backticks.

    A file that is not there any more, or cannot be read, does not differ. A new one counts where a model would read it.
    """
    changed = []
    for option, files in named_files(config).items():
        before = stored.get(option)
        if not isinstance(before, dict):
            continue
        for path, digest in files.items():
            if before.get(path, None if Path(path).name in _OF_MODEL else digest) != digest:
                changed.append(f"`{option}` {path}")
    return changed


def _named_by(value: str) -> list[Path]:
    """The files that an option's value names: a file, a folder, or several joined by commas."""
    parts = [value] if os.path.exists(value) else [part.strip() for part in value.split(",")]  # a path may have a comma
    found: list[Path] = []
    for part in parts:
        # The functions of os.path take any text for a path; pathlib raises for some that is none.
        path = os.path.expanduser(part)
        if os.path.isfile(os.path.join(path, "config.yaml")):
            found += sorted(Path(path).glob("*.parquet"))
        elif part and os.path.isdir(path):
            found += [Path(path, name) for name in _OF_MODEL]
            found += sorted(Path(path).glob("*.safetensors"))
        elif part:
            found.append(Path(path))
    return [path for path in found if os.path.isfile(path)]


def _digest(path: Path) -> str | None:
    """The file's SHA-256, for large weights that of their size and of blocks at equal distances. None if it cannot be read."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if path.suffix not in _WEIGHTS or size <= _BLOCKS * _BLOCK:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            return f"blocks:{_of_blocks(file, size)}"
    except OSError:
        return None


def _of_blocks(file: IO[bytes], size: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    for number in range(_BLOCKS):
        file.seek(number * (size - _BLOCK) // (_BLOCKS - 1))  # the first block holds the header, the last one ends with the file
        digest.update(file.read(_BLOCK))
    return digest.hexdigest()
