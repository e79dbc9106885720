"""Checkpoints that are only read if they are whole. Their files are synced to disk, listed with checksums in manifest.json, and checked.

The manifest is written last, so a folder without one is not a checkpoint. A checkpoint is damaged if a file is missing, changed, or not listed.
"""

import hashlib
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_object, write_json

MANIFEST = "manifest.json"
ASIDE = ".saving"  # where a checkpoint is written, beside the finished ones
KEPT = 2  # if the last one is damaged, the run goes on from the one before


def seal(folder: Path, step: int) -> None:
    """Write the manifest of `folder`, the checkpoint of update `step`, and sync all its files to disk."""
    write_json(folder / MANIFEST, {"step": step, "files": digests(folder)})
    sync(folder)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under `folder`, by path. Raises ValueError for anything that is neither a file nor a folder."""
    return {str(path.relative_to(folder)): _digest(path) for path in _files(folder)}


def sync(folder: Path) -> None:
    """Sync everything under `folder` to disk."""
    for path in [*_files(folder), *(path for path in folder.rglob("*") if path.is_dir()), folder, folder.parent]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def fault(folder: Path, files: dict[str, Any]) -> str | None:
    """What is wrong with `folder`, which should hold exactly `files` with these digests; None if nothing is."""
    try:
        found = digests(folder)
    except (OSError, ValueError) as error:
        return str(error)
    for name in sorted(files.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in files:
            return f"{name} does not belong to it"
        if found[name] != files[name]:
            return f"{name} is not as it was written"
    return None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first. They are not checked."""
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-[0-9]{1,18}", path.name)]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The number of updates before a checkpoint, from its name."""
    return int(checkpoint.name.rpartition("-")[2])


def last_whole(folder: Path) -> Path | None:
    """The last whole checkpoint; None if there is none. Later, damaged ones are set aside, each with a line on stderr."""
    damaged: list[tuple[Path, str]] = []
    whole = None
    for path in reversed(checkpoints(folder)):
        wrong = _wrong(path)
        if wrong is None:
            whole = path
            break
        damaged.append((path, wrong))
    follows = "begins anew" if whole is None else f"goes on from {whole.name}"
    for path, wrong in damaged:
        aside = path.with_name(f"damaged-{path.name}")
        _remove(aside)
        path.rename(aside)
        print(f"warning: {path} is damaged: {wrong}; it is set aside as {aside.name}, and the run {follows}", file=sys.stderr)
    return whole


def keep(aside: Path, step: int) -> None:
    """Seal the folder `aside` / checkpoint-`step`, move it to the other checkpoints, and delete all but the last `KEPT`."""
    name = f"checkpoint-{step}"
    seal(aside / name, step)
    os.replace(aside / name, aside.parent / name)
    drop_old(aside.parent)


def drop_old(folder: Path) -> None:
    """Delete all but the last `KEPT` checkpoints."""
    for path in checkpoints(folder)[:-KEPT]:
        _remove(path)


@contextmanager
def written_whole(what: str, folder: Path) -> Iterator[None]:
    """A block that writes `what` into `folder`. If it fails, `folder` is deleted.

    Raises `UserError` for a full disk or a limit on file sizes, which safetensors and torch report as other errors.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):
            raise
        # torch does not say why its file is too short.
        reason = "a file is too short; is the disk full?" if isinstance(error, RuntimeError) else f"{error!s:.200}"
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"{what} cannot be written ({reason}); free some space and run the same command again") from error


def _wrong(checkpoint: Path) -> str | None:
    try:
        manifest = read_object(checkpoint / MANIFEST)
    except FileNotFoundError:
        return f"{MANIFEST} is missing (older versions wrote none, so their checkpoints cannot be checked)"
    except (UserError, OSError):
        return f"{MANIFEST} cannot be read"
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        return f"{MANIFEST} lists no files"
    if manifest.get("step") != step_of(checkpoint):
        return f"{MANIFEST} is of update {manifest.get('step')!r:.40}"
    return fault(checkpoint, files)


def _files(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ValueError(f"{path.name} is no regular file")
        if stat.S_ISREG(mode) and path != folder / MANIFEST:
            found.append(path)
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
