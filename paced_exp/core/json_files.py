"""JSON files that are checked when they are read: size, depth and numbers are limited, and files that a run relies on have a checksum."""

import hashlib
import json
import math
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

from paced_exp.core.atomic import atomic_file
from paced_exp.core.errors import UserError

MOST_BYTES = 1 << 28  # 256 MiB; a record has kilobytes
MOST_DEPTH = 64  # levels of nesting; the deepest record has eight


def write_atomically(path: Path, text: str) -> None:
    """Write `text`. After a crash the file holds either the old content or the new one, never a part."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity are refused, since JSON does not have them."""
    write_atomically(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_bounded(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file. Raises ValueError for anything else (reading a pipe could wait forever) and for over `most` bytes."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no regular file")
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has {found.st_size} bytes, and {most} are the most that is read")
    return content


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises `UserError` if it is corrupted, too large, too deep, or holds a number that is not finite."""
    try:
        value = json.loads(read_bounded(path).decode("utf-8"), parse_constant=_no_number)
        check_depth(value)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is corrupted ({_reason(error)}); delete it to make it again") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder where a file belongs; delete it to make it again") from error
    return value


def read_object(path: Path) -> dict[str, Any]:
    """`read_json` of a file that holds an object. Raises `UserError` if it holds anything else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} is corrupted (it holds a {type(value).__name__}, not an object); delete it to make it again")
    return value


def check_depth(value: Any) -> None:
    """Raise ValueError if lists and objects are nested more than `MOST_DEPTH` deep, or if a number is not finite (1e999)."""
    # The lists and objects of one depth. What is in one is looked at by type first, since most hold numbers alone.
    level: list[Any] = [[value]]
    depth = 0
    while level:
        if depth > MOST_DEPTH:
            raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
        below: list[Any] = []
        for container in level:
            items = container.values() if isinstance(container, dict) else container
            kinds = set(map(type, items))
            if float in kinds and not all(math.isfinite(item) for item in items if isinstance(item, float)):
                raise ValueError("a number in it is not finite")
            if dict in kinds or list in kinds:
                below += (item for item in items if isinstance(item, dict | list))
        level, depth = below, depth + 1


def checksum(content: dict[str, Any]) -> str:
    """SHA-256 over an object without its `checksum`."""
    plain = {name: value for name, value in json.loads(json.dumps(content)).items() if name != "checksum"}
    return "sha256:" + hashlib.sha256(json.dumps(plain, sort_keys=True, allow_nan=False).encode()).hexdigest()


def write_checked(path: Path, content: dict[str, Any]) -> None:
    """Write an object with its checksum, atomically."""
    write_json(path, content | {"checksum": checksum(content)})


def read_checked(path: Path, kind: str) -> dict[str, Any]:
    """The object of this `kind` that `write_checked` wrote, without its checksum.

    Raises `UserError` if the file is of another kind, was changed, or has no checksum (older versions wrote none).
    """
    content = read_object(path)
    remedy = "delete it and run the command that made it again: what is finished is kept"
    if content.get("kind") != kind:
        raise UserError(f"{path} is no record of kind {kind!r}, or damaged; {remedy}")
    if "checksum" not in content:
        raise UserError(f"{path} has no checksum, so it is damaged or an older version wrote it; {remedy}")
    if content["checksum"] != checksum(content):
        raise UserError(f"{path} is damaged: its content does not match its checksum; {remedy}")
    return {name: value for name, value in content.items() if name != "checksum"}


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no number of JSON")


def _reason(error: Exception) -> str:
    return f"it is nested more than {MOST_DEPTH} deep" if isinstance(error, RecursionError) else str(error)
