"""Precisions: `dtype` is that of teachers and evaluations, also where the student is its own teacher; attention in bf16 on a CPU."""

from pathlib import Path
from typing import Any

import pytest
import torch

from paced_exp.models.attention import attention_spelt_out
from paced_exp.training import select_rate
from paced_exp.training.config import DistillConfig
from paced_exp.training.inputs import load_inputs
from paced_exp.training.selection_grid import SelectionConfig
from tests.support.distill_setup import save_models, write_problems
from tests.support.tiny_models import tiny_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("teacher", ["self", "teacher"])
@pytest.mark.parametrize(("dtype", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16), ("float64", torch.float64)])
def test_a_teacher_has_the_precision_asked_for(models: Path, tmp_path: Path, teacher: str, dtype: Any, expected: torch.dtype) -> None:
    source = write_problems(tmp_path / "sums.jsonl")
    named = teacher if teacher == "self" else str(models / teacher)
    places = {"student": str(models / "student"), "teacher": named, "problems": str(source)}
    inputs = load_inputs(DistillConfig(**places, max_new_tokens=12, device="cpu", dtype=dtype))
    student, found = inputs.student.model, inputs.teacher.model
    assert {parameter.dtype for parameter in found.parameters()} == {expected}
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float64 if dtype == "float64" else torch.float32}
    assert not any(parameter.requires_grad for parameter in found.parameters()) and not found.training
    assert all(parameter.requires_grad for parameter in student.parameters())
    if teacher == "self":
        for mine, theirs in zip(found.parameters(), student.parameters(), strict=True):
            assert mine.data_ptr() != theirs.data_ptr()
            torch.testing.assert_close(mine, theirs.detach().to(expected), rtol=0, atol=0)


def test_a_selection_evaluates_the_untrained_student_as_the_trained_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Their difference would else contain that of two precisions."""
    seen: list[Any] = []

    def stop(config: Any) -> None:
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(select_rate, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        select_rate.select(SelectionConfig(training={"dtype": "bfloat16", "device": "cpu"}, records=str(tmp_path)))
    assert (seen[0].dtype, seen[0].device) == ("bfloat16", "cpu")


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_attention_spelt_out_has_the_same_gradient(kind: str) -> None:
    """In float64, where nothing but the order of sums differs, with rows padded on the left as in training."""
    ids = torch.arange(24).reshape(2, 12) % 40
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    gradients = []
    for precision in ("float32", "bf16"):  # what chooses the attention; the model stays in float64
        model = tiny_model(kind, seed=3, context=32).double()
        with attention_spelt_out("cpu", precision):
            logits = model(input_ids=ids, attention_mask=mask).logits
            (logits[mask.bool()] ** 2).mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("device", "precision", "spelt"), [("cpu", "bf16", True), ("cpu", "float32", False), ("cuda", "bf16", False)])
def test_attention_is_spelt_out_in_bf16_on_a_cpu_alone(device: str, precision: str, spelt: bool) -> None:
    q = torch.randn(1, 2, 4, 8, requires_grad=True, generator=torch.Generator().manual_seed(0))
    with attention_spelt_out(device, precision):
        result = torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert ("Flash" not in type(result.grad_fn).__name__) == spelt
