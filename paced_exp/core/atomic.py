"""Files and folders that are written whole or not at all."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_TRIES = 100  # to put a folder in its place while other processes do the same


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write to. It is renamed to `path` when the block ends, so that `path` holds the old or the new content after a crash.

    Creates the folder. If the block raises, an older file stays as it was and nothing else is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def place_folder(made: Path, folder: Path, whole: Callable[[Path], bool]) -> None:
    """Rename the folder `made` to `folder`, unless a whole one is there: another process was faster, and its folder may be in use already.

    made: in a temporary folder on the same filesystem, into which an incomplete `folder` is moved. whole: whether a folder is complete.
    Raises `OSError` if it cannot be renamed.
    """
    for number in range(_TRIES):
        try:
            os.rename(made, folder)  # fails on a folder with something in it, so nothing that is there is lost
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or number == _TRIES - 1:
                raise
        if whole(folder):
            return
        with suppress(FileNotFoundError):  # another process has moved it just now
            os.rename(folder, made.with_name(f"{made.name}.{number}"))
