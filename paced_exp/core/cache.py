"""Where files are kept that can be made again: $PACED_CACHE, by default ~/.cache/paced. Deleting the folder costs time and nothing else."""

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """The folder of one kind of files. It may not exist yet."""
    return Path(os.environ.get("PACED_CACHE") or Path.home() / ".cache" / "paced") / kind
