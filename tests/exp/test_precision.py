"""Precisions: `dtype` is that of teachers and evaluations, also where the student is its own teacher; attention in bf16 on a CPU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from paced_exp import distill
from paced_exp.core.config import read_yaml
from paced_exp.data.prompts import prompt_ids
from paced_exp.data.sources import load_problems
from paced_exp.models.attention import attention_spelt_out
from paced_exp.models.loading import load_model
from paced_exp.rollouts.engine import Prompt, Sampling, rollout_seed
from paced_exp.rollouts.groups import Processes
from paced_exp.rollouts.hf import HFEngine
from paced_exp.rollouts.store import ChunkStore
from paced_exp.training import select_rate
from paced_exp.training.config import DistillConfig
from paced_exp.training.inputs import load_inputs
from paced_exp.training.selection_grid import SelectionConfig
from paced_exp.training.whole_student import WholeStudent
from tests.support.distill_setup import arguments, save_models, trainer, write_problems
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


def test_a_copy_in_half_precision_follows_the_student_and_moves_no_generator(models: Path) -> None:
    student = load_model(str(models / "student"), device="cpu", dtype="float32")
    half, plain = WholeStudent(student, Processes(), half=True), WholeStudent(student, Processes())
    state = torch.random.get_rng_state()
    for shift in (0.0, 0.25):
        with torch.no_grad():
            for parameter in student.model.parameters():
                parameter.add_(shift)
        assert plain.current() is student
        copy = half.current().model
        assert copy.dtype == torch.bfloat16 and not copy.training
        for mine, theirs in zip(copy.parameters(), student.model.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs.detach().bfloat16(), rtol=0, atol=0)
        for (name, mine), (_, theirs) in zip(copy.named_buffers(), student.model.named_buffers(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0, msg=f"{name} is no weight and stays in its precision")
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.usefixtures("hash_grader")
def test_rollouts_of_a_student_that_trains_in_bf16_are_those_of_its_copy(models: Path, tmp_path: Path) -> None:
    """As `paced_exp.rollout --dtype bfloat16` would sample them, and as pass rates of shared work are."""
    source = write_problems(tmp_path / "sums.jsonl")
    options = {"teacher": "self", "method": "uniform", "stages": "reverse_kl", "precision": "bf16", "steps": 2, "rollout-every": 1}
    distill.main(arguments(models, source, tmp_path / "run", **options, **{"learning-rate": 0.1, "checkpoint-every": 1, "warmup": 0}))
    config = read_yaml(tmp_path / "run" / "config.yaml")
    by_id = {problem.id: problem for problem in load_problems(str(source))}
    for update, weights in ((0, None), (1, tmp_path / "run" / "training" / "checkpoint-1" / "model.safetensors")):
        name = f"rollouts-{update:06d}"
        found = ChunkStore(tmp_path / "run", name).rows()
        sampling = Sampling(1, config["max_new_tokens"], config["temperature"], rollout_seed(config["seed"], name, 0))
        sampled = {}
        for dtype in ("bfloat16", "float32"):
            student = load_model(str(models / "student"), device="cpu", dtype=dtype)
            if weights is not None:
                missing, unexpected = student.model.load_state_dict(load_file(weights), strict=False)
                assert not unexpected and set(missing) <= {"lm_head.weight"}
            prompts = [Prompt(name, prompt_ids(student.tokenizer, by_id[name.split(":")[1]])) for name in found["problem_id"]]
            sampled[dtype] = [list(one.token_ids) for rollouts in HFEngine(student).generate(prompts, sampling) for one in rollouts]
        assert [list(row) for row in found["token_ids"]] == sampled["bfloat16"], update
        assert sampled["bfloat16"] != sampled["float32"], "not by luck"


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
        with attention_spelt_out("cpu", precision, 12):
            logits = model(input_ids=ids, attention_mask=mask).logits
            (logits[mask.bool()] ** 2).mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("device", "precision", "tokens", "spelt"),
    [("cpu", "bf16", 512, True), ("cpu", "bf16", 513, False), ("cpu", "float32", 9, False), ("cuda", "bf16", 9, False)],
)
def test_attention_is_spelt_out_in_bf16_on_a_cpu_alone(device: str, precision: str, tokens: int, spelt: bool) -> None:
    q = torch.randn(1, 2, 4, 8, requires_grad=True, generator=torch.Generator().manual_seed(0))
    with attention_spelt_out(device, precision, tokens):
        result = torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert ("Flash" not in type(result.grad_fn).__name__) == spelt


@pytest.mark.parametrize(("precision", "spelt"), [("bf16", True), ("float32", False)])
def test_a_training_in_bf16_spells_attention_out_forward_and_backward(
    precision: str, spelt: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what gradient checkpointing computes again, which PyTorch refuses where it differs from the first time."""
    seen: list[bool] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def watched(*given: Any, **options: Any) -> torch.Tensor:
        seen.append(torch.backends.cuda.flash_sdp_enabled())
        result: torch.Tensor = original(*given, **options)
        return result

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    source = write_problems(tmp_path / "sums.jsonl")
    again = {"optim": "sgd", "gradient_checkpointing": True}
    ours = trainer(tmp_path / "run", source, precision=precision, dtype="float32", steps=1, training_arguments=again)
    layers = ours.data.student.model.config.num_hidden_layers
    seen.clear()  # what was tried on the head before training
    ours.train_or_resume()
    assert len(seen) >= 3 * layers, "the student's forward pass, again in its backward pass, and the teacher's"
    assert set(seen) == {not spelt}
