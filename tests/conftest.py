"""Shared by all tests. Property tests draw the same examples every time, so that a failure is there again on the next run."""

from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def lab_tokenizer() -> Any:
    """The lab's tokenizer, built once (a second); imported here, since transformers is slow to import and the theory's tests need none."""
    from paced_exp.lab.tokenizer import build_tokenizer

    return build_tokenizer()
