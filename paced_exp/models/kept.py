"""Models in a form that is made once and then kept in the cache: a folder in transformers' layout, with the hashes of what it was made from and of its files.

A folder appears whole or not at all. A file in it that changed on disk is noticed when the model is loaded.
"""

import hashlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from paced_exp.core.atomic import place_folder
from paced_exp.core.cache import cache_folder
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_object, write_json

DONE = "made_from.json"


def kept(kind: str, source: Path, digest: str, make: Callable[[Path], None], spec: str) -> Path:
    """The folder of `spec` under the cache's `kind`, named after `source` and its hash `digest`; `make(folder)` writes it if it is not there.

    Raises `UserError` for a folder whose files are not as they were written, and where the cache has no room.
    """
    folder = cache_folder(kind) / f"{source.stem}-{digest[:16]}"
    if (folder / DONE).exists():
        check(folder, spec)
        return folder
    print(f"note: converting {source.name} once into {folder}", file=sys.stderr)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as partial:
            made = Path(partial) / "model"
            made.mkdir()
            make(made)
            content = {"source": source.name, "sha256": digest, "files": {path.name: sha256(path) for path in sorted(made.iterdir())}}
            write_json(made / DONE, content)
            place_folder(made, folder, lambda there: (there / DONE).exists())
    except OSError as error:
        raise UserError(f"model {spec}: {folder} cannot be written ({error}); set PACED_CACHE to a folder with 1 GB of room") from error
    return folder


def check(folder: Path, spec: str) -> None:
    """Raise `UserError` if a file of the kept folder is not as it was written."""
    content = read_object(folder / DONE)
    changed = [name for name, digest in content["files"].items() if not (folder / name).is_file() or sha256(folder / name) != digest]
    if changed:
        raise UserError(f"model {spec}: {folder / changed[0]} is not as it was converted; delete {folder}, and it is made anew")


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
