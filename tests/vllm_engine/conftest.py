"""Tests with a real vLLM, in the environment that `make test-vllm` makes; elsewhere there is nothing to collect here."""

from importlib.util import find_spec
from typing import Any

import pytest

if find_spec("vllm") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def student() -> Any:
    """The lab's student with its weights in float32, as the hf engine reads it."""
    from paced_exp.models.loading import load_model

    return load_model("lab:student", device="cpu")


@pytest.fixture(scope="session")
def engine(student: Any) -> Any:
    """One running engine for all tests that do not end theirs: starting it takes most of a test's time."""
    from paced_exp.rollouts.vllm import VLLMEngine

    engine = VLLMEngine(student)
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def problems() -> Any:
    """Two hundred problems, from easy to hard, so that pass rates lie all over the range."""
    from paced_exp.data.sources import load_problems

    return [problem for split in ("mid", "hard-a") for problem in load_problems(f"lab:{split}", limit=100, seed=0)]
