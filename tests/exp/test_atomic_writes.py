"""Results are written whole or not at all: a disk that fills up leaves the older file, and nothing beside it."""

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.sources import load_problems, save_problems
from paced_exp.lab.pretrain import _save_state
from paced_exp.plotting.style import new_figure, save_figure
from tests.support.journals import file_size_limit
from tests.support.tiny_models import tiny_model

PROBLEMS = [Problem(f"p{index}", f"{index}?" * 500, "4", None, "file", "", "exact") for index in range(300)]


def write_problems(folder: Path) -> None:
    random = np.random.default_rng(len(list(folder.iterdir())))
    rows = [Problem(p.id, "".join(map(chr, random.integers(97, 122, 500))), "4", None, "file", "", "exact") for p in PROBLEMS]
    save_problems(rows, folder / "problems.parquet")


def write_state(folder: Path) -> None:
    _save_state(folder / "state.pt", tiny_model(seed=len(list(folder.iterdir()))), [], 1)


def draw(folder: Path) -> None:
    figure, axes = new_figure()
    axes.plot(np.random.default_rng(len(list(folder.iterdir()))).random(50))
    try:
        save_figure(figure, "wave", folder, caption="A wave.")
    finally:
        plt.close(figure)


@pytest.mark.parametrize("write", [write_problems, write_state, draw])
def test_a_full_disk_leaves_the_older_file(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with file_size_limit(3000), pytest.raises((OSError, UserError, RuntimeError)):
        write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} != before


def test_problems_and_states_are_read_back(tmp_path: Path) -> None:
    save_problems(PROBLEMS, tmp_path / "problems.parquet")
    assert load_problems(str(tmp_path / "problems.parquet")) == PROBLEMS
    write_state(tmp_path)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["pools"] == 1


def test_nothing_writes_a_result_past_the_atomic_file() -> None:
    """Plain writes in the source: those named here, a lock, logs that are appended to, and the theory's own rename (it does without paced_exp), and no others."""
    root = Path(__file__).resolve().parents[2]
    plain = re.compile(
        r"\.write_(?:text|bytes)\(|open\([^)]*[\"'][wx]b?[\"']|(?:savefig|torch\.save|to_parquet|to_csv)\((?!file\b)(?!.*, file\))"
    )
    found = [
        (path.relative_to(root).as_posix(), line.strip())
        for folder in ("paced_exp", "paced_theory", "figures", "bench")
        for path in sorted((root / folder).rglob("*.py"))
        for line in path.read_text().splitlines()
        if plain.search(line)
    ]
    allowed = (
        "paced_exp/core/atomic.py",
        "paced_theory/coverage/record.py",
        "paced_exp/reproduce/scheduler.py",
        "paced_exp/rollouts/vllm",
        "bench/store.py",
    )
    assert [each for each in found if not each[0].startswith(allowed)] == []
