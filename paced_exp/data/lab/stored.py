"""A cache on disk of the lab's problems: drawing ten thousand takes a minute, reading them a second.

The files lie under $PACED_CACHE (by default ~/.cache/paced). A file's name says everything that decides the problems: split, seed, number, a
hash of the modules that draw and solve them, and the version of reasoning-gym. So a file is never out of date, and the folder may be deleted.
"""

import hashlib
import sys
from collections.abc import Callable
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from paced_exp.core.cache import cache_folder
from paced_exp.core.errors import UserError
from paced_exp.data.lab import families, solutions, splits
from paced_exp.data.problem import Problem

LEAST = 500  # fewer problems are quickly drawn and not cached


def first_problems(
    split: str, seed: int, count: int, read: Callable[[Path], list[Problem]], save: Callable[[list[Problem], Path], None]
) -> list[Problem]:
    """The first `count` problems of `lab_problems(split, seed)`, or all of a split that has fewer.

    read, save: read and write a file of problems. Raises `UserError` for an unknown split. Warns on stderr if the cache cannot be written.
    """
    if count < LEAST or split not in splits.SPLITS:
        return list(islice(splits.lab_problems(split, seed), count))
    path = _path(split, seed, count)
    if path.exists():
        return read(path)
    drawn = list(islice(splits.lab_problems(split, seed), count))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(drawn, path)
    except (OSError, UserError) as error:
        print(
            f"note: {path} cannot be written ({error}), so lab:{split} is drawn anew each time; set PACED_CACHE to a writable folder",
            file=sys.stderr,
        )
        return drawn
    return read(path)  # as later calls do: in the file, tuples of the metadata have become lists


def _path(split: str, seed: int, count: int) -> Path:
    digest = hashlib.sha256(f"{split}/{seed}/{count}/{version('reasoning-gym')}".encode())
    for module in (families, solutions, splits):
        digest.update(Path(str(module.__file__)).read_bytes())
    return cache_folder("lab") / f"{split}-{seed}-{count}-{digest.hexdigest()[:16]}.parquet"
