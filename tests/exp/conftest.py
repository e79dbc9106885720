"""Fixtures of the pipeline's tests: tiny models, sums to solve, a grader that random models can pass, a whole run of the probe."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from paced_exp import snr_probe
from paced_exp.grading import grader as grading
from tests.support import distill_setup, probe_setup
from tests.support.graders import HashGrader
from tests.support.tiny_models import save_tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with checkpoints of a random `student` (Qwen3) and `teacher` (Llama)."""
    return distill_setup.save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a random model."""
    return save_tiny(tmp_path_factory.mktemp("models") / "qwen")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change or damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty sums to train on."""
    return distill_setup.write_problems(tmp_path_factory.mktemp("problems") / "sums.jsonl")


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety sums to probe."""
    return probe_setup.write_rows(tmp_path_factory.mktemp("problems") / "sums.jsonl", probe_setup.rows())


@pytest.fixture
def hash_grader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Responses pass by checksum, in this process and in this test alone."""
    monkeypatch.setattr(grading, "Grader", HashGrader)


@pytest.fixture(scope="module")
def whole(models: Path, problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a probe that nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "Grader", HashGrader)
        snr_probe.main(probe_setup.arguments(models, problems, out))
    return out


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """The same number of threads here and in a module's children, whose numbers are compared bit for bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
