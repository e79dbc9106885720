"""A scale of tiny models for the grids."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from paced_exp.grading import grader as grading
from paced_exp.reproduce import cells
from paced_exp.reproduce.scales import SCALES, ProbeVariant, Scale, Setup
from tests.support.distill_setup import save_models
from tests.support.graders import HashGrader

TIERS = ("mid", "hard-a", "hard-b", "retention")


def write_sums(path: Path, prefix: str, count: int) -> Path:
    rows = [
        {
            "id": f"{prefix}{i:02}",
            "prompt": f"{i}+{i * i}=",
            "answer": str(i + i * i),
            "solution": f"\\boxed{{{i + i * i}}}",
            "grader": "exact",
        }
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scale]:
    """A scale of tiny random models, whose responses pass by checksum."""
    folder = tmp_path_factory.mktemp("tiny")
    models = save_models(folder)
    problems = write_sums(folder / "train.jsonl", "train", 24)
    tiers = [str(write_sums(folder / f"{name}.jsonl", name, 5)) for name in TIERS]
    student = str(models / "student")
    made = Scale(
        name="tiny",
        protocol=1,
        setups={
            "distillation": Setup(student, str(models / "teacher"), 2, 1e-3),
            "self-distillation": Setup(student, "self", 2, 1e-3),
            "llama": Setup(student, str(models / "teacher"), 2, 1e-3),
            "concise": Setup(student, "self", 2, 1e-3),
        },
        problems=str(problems),
        limit=24,
        tiers=(tiers[0], tiers[1], tiers[2]),
        retention=tiers[3],
        evaluation={"samples": 2},
        shared={
            "K": 4,
            "candidates": 2,
            "batch": 4,
            "micro_batch": 4,
            "max_new_tokens": 12,
            "warmup": 0,
            "device": "cpu",
            "rollout_every": 1,
        },
        seeds=(1, 1),
        prompt_tokens=10,
        response_tokens=10,
        flops_per_second=(1e9, 1e9),
        start_seconds=1.0,
        probes=(
            ProbeVariant(
                "snr_probe",
                "tiny",
                {"at_steps": "1,3", "K": 2, "bins": 3, "per_bin": 3, "max_problems": 24, "candidates": 1, "replicates": 100},
            ),
        ),
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCALES, "tiny", made)
        patch.setattr(grading, "Grader", HashGrader)
        yield made
        cells._homes.cache_clear()
    torch.set_num_threads(threads)
