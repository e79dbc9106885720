"""Rows for journals, and a disk that is full."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def problem_rows(index: int, tokens: int = 3) -> list[dict[str, Any]]:
    """Two rows of problem `index`, functions of the index alone."""
    return [
        {"problem_id": f"p{index}", "sample": sample, "token_ids": list(range(index, index + tokens)), "correct": (index + sample) % 2 == 0}
        for sample in range(2)
    ]


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow over `limit` bytes: what a full disk looks like to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
