"""Drawn problems of the lab kept on disk: drawing ten thousand takes a minute, reading them a second.

They lie under $PACED_CACHE (by default ~/.cache/paced), in a file named after everything that decides them: split, seed, number, the text of
the modules that draw and solve them, and the version of reasoning-gym. A file of that name is therefore never out of date; deleting the
folder costs time and nothing else.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from paced_exp.core.errors import UserError
from paced_exp.data.lab import families, solutions, splits
from paced_exp.data.problem import Problem

LEAST = 500  # fewer are drawn in a moment


def first_problems(
    split: str, seed: int, count: int, read: Callable[[Path], list[Problem]], save: Callable[[list[Problem], Path], None]
) -> list[Problem]:
    """The first `count` problems of `lab_problems(split, seed)`, or all that a split with quotas has, where these are fewer.

    read, save: of a file of problems. Raises `UserError` for an unknown split. A folder that cannot be written is said on stderr.
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
            f"note: {path} cannot be written ({error}), so lab:{split} is drawn anew each time; set PACED_CACHE to a folder that can",
            file=sys.stderr,
        )
        return drawn
    return read(path)  # as every later call gets them: tuples among their metadata have become lists


def _path(split: str, seed: int, count: int) -> Path:
    folder = Path(os.environ.get("PACED_CACHE") or Path.home() / ".cache" / "paced")
    digest = hashlib.sha256(f"{split}/{seed}/{count}/{version('reasoning-gym')}".encode())
    for module in (families, solutions, splits):
        digest.update(Path(str(module.__file__)).read_bytes())
    return folder / "lab" / f"{split}-{seed}-{count}-{digest.hexdigest()[:16]}.parquet"
