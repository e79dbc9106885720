"""Shared by all tests. Property tests draw the same examples every time, so that a failure is there again on the next run."""

import os
from typing import Any

# One thread a test process, before torch is loaded: pytest-xdist has a process a core, and commands that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def lab_tokenizer() -> Any:
    """The lab's tokenizer, built once (a second); imported here, since transformers is slow to import and the theory's tests need none."""
    from paced_exp.lab.tokenizer import build_tokenizer

    return build_tokenizer()
