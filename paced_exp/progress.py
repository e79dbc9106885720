"""Progress bars with a rate and an ETA, on stderr, so that stdout holds results only."""

import sys
from typing import Any

from tqdm import tqdm


def progress(total: int | None, unit: str, description: str, initial: int = 0) -> "tqdm[Any]":
    """A tqdm bar: description, share done, count, rate in `unit`/s, ETA. Off a terminal it prints a line every ten seconds."""
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=f" {unit}",
        desc=description,
        initial=initial,
        file=sys.stderr,
        mininterval=0.2 if terminal else 10,
        dynamic_ncols=terminal,
        smoothing=0.1,
        leave=True,
    )
