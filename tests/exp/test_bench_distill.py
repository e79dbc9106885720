"""The distillation benchmark: all contenders make the same step, and a small run leaves a record."""

import warnings
from pathlib import Path

import pytest
import torch

from bench import distill
from bench.subjects import tokenizer
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.losses.alignment import Row
from paced_exp.training.teachers import ModelTeacher
from tests.support.tiny_models import tiny_model


def test_all_contenders_make_the_same_step() -> None:
    """One row, where a mean over a problem's tokens and one over the batch's are the same: equal losses and gradients."""
    pytest.importorskip("trl", reason="TRL is not installed; install the bench extra to compare with it")
    row = Row("a", [5, 6, 7], [5, 6, 7], [10, 11, 12, 1], [True] * 4, 1.0)
    teacher = tiny_model("llama", seed=1, dtype=torch.float64)
    results = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TRL's own imports
        for make in (
            lambda student: distill.ours(student, ModelTeacher(teacher, states=True)),
            lambda student: distill.gkd_step(student, teacher, 0),
            lambda student: distill.distillation_step(student, teacher, 0),
        ):
            student = tiny_model("qwen3", seed=0, dtype=torch.float64)
            loss = make(student)([row])
            results.append((loss, [parameter.grad for parameter in student.parameters()]))
    for loss, gradients in results[1:]:
        # TRL's chunked divergence works in float32.
        torch.testing.assert_close(loss.double(), results[0][0], rtol=1e-5, atol=0)
        for found, expected in zip(gradients, results[0][1], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_small_run_leaves_a_record(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        distill.main(["--problems", "20", "--without-trl", "--out", str(tmp_path / "record.json")])
    finally:
        torch.set_num_threads(threads)
    record = read_json(tmp_path / "record.json")
    assert [row["contender"] for row in record["step"]] == ["live teacher", "cached teacher"] and record["problems"] == 20
    kept, dropped = record["epoch"]
    assert kept["problems"] == 20 > dropped["problems"] > 0
    assert all(row["seconds"] > 0 for row in [*record["step"], *record["epoch"]])


def test_rows_are_cut_into_micro_batches_without_loss() -> None:
    rows = distill.rows_of(33, tokenizer())
    assert [len(part) for part in distill.micro_batches(rows)] == [16, 16, 1]
    assert [row for part in distill.micro_batches(rows) for row in part] == rows


def test_too_few_problems_are_refused() -> None:
    with pytest.raises(UserError, match="--problems 3 must be at least 16"):
        distill.main(["--problems", "3"])
