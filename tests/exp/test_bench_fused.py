"""The benchmark of the fused loss: all contenders make the same gradients, and a small run leaves a record."""

import dataclasses
import warnings
from pathlib import Path

import pytest
import torch

from bench import fused
from bench.fused import Subject, contenders
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd"])
def test_all_contenders_make_the_same_gradients(name: str) -> None:
    """Equal weights, the only ones that TRL has."""
    pytest.importorskip("trl", reason="TRL is not installed; install the bench extra to compare with it")
    subject = Subject.drawn(150, 12, 40, name)
    subject = dataclasses.replace(subject, weights=torch.full((150,), 1 / 150))
    ways = contenders([None, 7], without_trl=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TRL's own imports
        found = {way: run(subject) for way, run in ways.items() if way != fused.PRODUCTS}
    assert len(found) == 6
    for gradients in found.values():
        for one, other in zip(gradients, found["dense"], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_the_products_are_the_four() -> None:
    subject = Subject.drawn(300, 12, 40, "forward_kl")
    of_states, of_head = fused.products(subject)
    logits = subject.student @ subject.head.T
    torch.testing.assert_close(of_states, logits @ subject.head, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(of_head, logits.T @ subject.student, rtol=1e-4, atol=1e-3)


def test_a_small_run_leaves_a_record(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    small = ["--tokens", "24", "--hidden", "8", "--vocabulary", "50", "--rounds", "2", "--without-trl", "--chunks", "5", "9"]
    try:
        fused.main([*small, "--only", "fused", "dense", "--out", str(tmp_path / "record.json")])
    finally:
        torch.set_num_threads(threads)
    record = read_json(tmp_path / "record.json")
    assert [row["contender"] for row in record["rows"]] == [fused.PRODUCTS, "fused, chunks of 5", "fused, chunks of 9", "dense"]
    assert record["rows"][0]["to_products"]["total"] == 1 and record["rows"][-1]["memory_to_dense"] == 1
    assert record["not_run"] == fused.NOT_RUN and not any("CUDA" in row["contender"] for row in record["rows"])
    assert all(row["seconds"] > 0 and row["bytes"] > 4 * 8 * 50 for row in record["rows"])


def test_numbers_below_one_are_refused() -> None:
    for option in ("tokens", "chunks"):
        with pytest.raises(UserError, match=f"--{option} must be at least 1"):
            fused.main([f"--{option}", "0"])
