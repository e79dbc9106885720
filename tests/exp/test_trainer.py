"""The trainer: an update against a plain loop, accumulation, bad losses, metrics, schedule, precision."""

import ast
import inspect
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer

from paced_exp.core.checkpoints import checkpoints
from paced_exp.core.errors import UserError
from paced_exp.data.prompts import prompt_ids
from paced_exp.losses.alignment import Batch
from paced_exp.losses.problem_loss import Dense, Targets
from paced_exp.rollouts.references import solution_ids
from paced_exp.training import build
from paced_exp.training.teacher_cache import CachedTeacher
from paced_exp.training.teachers import EMATeacher, ModelTeacher
from paced_exp.training.trainer import PacedTrainer, rate
from paced_exp.training.whole_checkpoints import WholeCheckpoints
from tests.support import children
from tests.support.distill_setup import rows as problem_rows
from tests.support.distill_setup import trainer, trainer_config, write_problems
from tests.support.tiny_models import tiny_model


def parameters(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_close(found: Any, expected: dict[str, torch.Tensor], tolerance: float) -> None:
    for name, parameter in found.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("method", ["paced", "uniform"])
def test_an_update_is_that_of_a_plain_loop_over_problems(method: str, source: Path, tmp_path: Path) -> None:
    """theta - rate * sum_i w_i grad l_i / batch, with w from the counts by hand and l_i one problem at a time."""
    ours = trainer(tmp_path, source, method=method, steps=1)
    student, data = ours.data.student, ours.data
    teacher = ours.teachers["forward_kl@references"].model  # type: ignore[attr-defined]
    before = parameters(student.model)
    rates = [(index % 9) / 8 for index in range(len(data.problems))]
    raw = [p * (1 - p) if method == "paced" else 1.0 for p in rates]
    kept = [index for index, weight in enumerate(raw) if weight > 0]
    mean = sum(raw) / len(kept)

    total = torch.zeros((), dtype=torch.float64)
    for index in data.prepare(0).plan.indices.tolist():
        problem = data.problems[index]
        response = solution_ids(problem, student)
        log_p = []
        for model, kind in ((student.model, "plain"), (teacher, "privileged")):
            prompt = prompt_ids(student.tokenizer, problem, kind)  # type: ignore[arg-type]
            logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            log_p.append(logits.log_softmax(-1))
        kl = (log_p[1].exp() * (log_p[1] - log_p[0])).sum(-1).mean()
        total = total + raw[index] / mean * kl / 8
    gradients = torch.autograd.grad(total, list(student.model.parameters()))
    expected = {name: before[name] - 0.05 * gradient for name, gradient in zip(before, gradients, strict=True)}

    ours.train_or_resume()
    assert_close(student.model, expected, 1e-12)
    assert any(not torch.equal(expected[name], before[name]) for name in before)
    line = json.loads((tmp_path / "training" / "metrics.jsonl").read_text())
    assert line["loss"] == pytest.approx(total.item(), rel=1e-6)


@pytest.mark.parametrize("stages", ["forward_kl", "reverse_kl"])
def test_accumulated_micro_batches_give_the_update_of_one_large_batch(stages: str, source: Path, tmp_path: Path) -> None:
    trained = []
    for size in (8, 4, 1):
        ours = trainer(tmp_path / str(size), source, micro_batch=size, stages=stages, rollout_every=2)
        ours.train_or_resume()
        trained.append(ours.data.student.model)
    assert_close(trained[1], parameters(trained[0]), 1e-9)
    assert_close(trained[2], parameters(trained[0]), 1e-9)


def test_metrics_say_what_each_update_was_made_of(source: Path, tmp_path: Path) -> None:
    ours = trainer(tmp_path, source, stages="forward_kl:0.5,reverse_kl:0.5", steps=4, micro_batch=4, recompute="never")
    ours.train_or_resume()
    lines = [json.loads(line) for line in (tmp_path / "training" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["stage"]) for line in lines] == [
        (1, "forward_kl@references"),
        (2, "forward_kl@references"),
        (3, "reverse_kl@rollouts"),
        (4, "reverse_kl@rollouts"),
    ]
    plan = ours.data.prepare(0).plan
    for line, indices in zip(lines, plan.indices.reshape(2, 8), strict=False):
        assert line["mean_weight"] == pytest.approx(plan.weights[indices].mean(), rel=1e-6)
        responses = [len(ours.data.references.by_id[ours.data.problems[index].id].token_ids) for index in indices]
        assert line["supervised_tokens"] == sum(responses) and line["response_tokens"] == sum(responses) / 8
    # p = 0 and 1 are dropped: 9 of 40 problems.
    assert all(line["dropped_share"] == pytest.approx(9 / 40) for line in lines)
    assert all(line["tokens_per_second"] > 0 and line["grad_norm"] > 0 for line in lines)
    assert [line["flops"] for line in lines] == sorted({line["flops"] for line in lines})


class Poisoned(ModelTeacher):
    """NaN for one problem, from an update on."""

    def __init__(self, model: Any, problem: str) -> None:
        super().__init__(model)
        self.problem = problem

    def targets(self, batch: Batch) -> Targets:
        found = super().targets(batch)
        assert isinstance(found, Dense)
        bad = torch.tensor([row.problem_id == self.problem for row in batch.rows])
        rows = torch.arange(len(batch.rows))[:, None].expand_as(batch.layout)[batch.layout]
        return Dense(torch.where(bad[rows][:, None], math.nan, found.logits))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_problem(source: Path, tmp_path: Path) -> None:
    ours = trainer(tmp_path, source, checkpoint_every=1, micro_batch=4)
    plan = ours.data.prepare(2).plan.indices.reshape(3, 8)
    culprit = next(index for index in plan[2].tolist() if index not in plan[:2])
    name = ours.data.problems[culprit].id
    (stage,) = ours.teachers
    ours.teachers[stage] = Poisoned(ours.teachers[stage].model, name)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=f"the loss of update 3 is not finite for problems '{name}'; the last checkpoint in"):
        ours.train_or_resume()
    assert [path.name for path in checkpoints(tmp_path / "training")] == ["checkpoint-1", "checkpoint-2"]


def test_a_gradient_that_is_not_finite_stops_the_run(source: Path, tmp_path: Path) -> None:
    ours = trainer(tmp_path, source, checkpoint_every=1)
    parameter = next(iter(ours.data.student.model.parameters()))
    parameter.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(UserError, match="the gradient of update 1 is not finite for problems 'sum"):
        ours.train_or_resume()
    assert checkpoints(tmp_path / "training") == []


# Of the methods that PacedTrainer overrides, those that Trainer calls by these names with these arguments.
OVERRIDDEN = {
    "get_batch_samples": ["epoch_iterator", "num_batches", "device"],
    "training_step": ["model", "inputs", "num_items_in_batch"],
    "compute_loss": ["model", "inputs", "return_outputs", "num_items_in_batch"],
    "floating_point_ops": ["inputs"],
    "create_scheduler": ["num_training_steps", "optimizer"],
    "log": ["logs", "start_time"],
    # Private to transformers; the reason for each is beside it in the trainer.
    "_get_output_dir": ["trial"],
    "_save_checkpoint": ["model", "trial"],
    "_save": ["output_dir", "state_dict"],
    "_issue_warnings_after_load": ["load_result"],
}


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_transformers_still_calls_what_is_overridden(name: str) -> None:
    """A method that transformers renames would be overridden in vain, and silently; one with other arguments would be called wrongly."""
    for trainer_class in (Trainer, PacedTrainer):
        assert list(inspect.signature(getattr(trainer_class, name)).parameters) == ["self", *OVERRIDDEN[name]]
    calls = [node.func for node in ast.walk(ast.parse(inspect.getsource(Trainer))) if isinstance(node, ast.Call)]
    assert name in {function.attr for function in calls if isinstance(function, ast.Attribute)}


def test_every_overridden_method_is_listed() -> None:
    inherited = {name for parent in Trainer.__mro__ for name in vars(parent)}
    own = vars(WholeCheckpoints) | vars(PacedTrainer)
    ours = {name for name, value in own.items() if inspect.isfunction(value) and name in inherited}
    assert ours == {"__init__", *OVERRIDDEN}


def test_a_checkpoint_that_lacks_a_tensor_is_refused_and_a_tied_one_is_not_missed(source: Path, tmp_path: Path) -> None:
    ours = trainer(tmp_path, source, steps=2, checkpoint_every=1)
    ours.train_or_resume()
    tied = list(ours.data.student.model.all_tied_weights_keys)
    weights = checkpoints(tmp_path / "training")[0] / "model.safetensors"
    stored = load_file(weights)
    assert tied and not stored.keys() & set(tied)
    ours._load_from_checkpoint(str(weights.parent))
    del stored["model.norm.weight"]
    save_file(stored, weights)
    with pytest.raises(
        UserError, match=r"the last checkpoint in .* lacks model.norm.weight; delete it, and the run resumes from the one before"
    ):
        ours._load_from_checkpoint(str(weights.parent))


def test_an_ema_teacher_follows_the_student_by_its_formula(source: Path, tmp_path: Path) -> None:
    ours = trainer(tmp_path, source, teacher="self", teacher_update="ema", ema_decay=0.75, steps=3)
    teacher = ours.teachers["forward_kl@references"]
    assert isinstance(teacher, EMATeacher)
    expected = parameters(teacher.model)
    original = teacher.after_update

    def follow(student: Any) -> None:
        for name, parameter in student.named_parameters():
            expected[name] = 0.75 * expected[name] + 0.25 * parameter.detach()
        original(student)

    teacher.after_update = follow  # type: ignore[method-assign]
    ours.train_or_resume()
    assert_close(teacher.model, expected, 1e-14)
    stored = checkpoints(tmp_path / "training")[-1] / "teacher-0"
    teacher.load(stored)
    assert_close(teacher.model, expected, 1e-14)


def test_a_frozen_teacher_stays_and_a_live_one_is_the_student(source: Path, tmp_path: Path) -> None:
    frozen = trainer(tmp_path / "frozen", source, teacher="self")
    teacher = frozen.teachers["forward_kl@references"].model  # type: ignore[attr-defined]
    before = parameters(teacher)
    frozen.train_or_resume()
    assert_close(teacher, before, 0)
    live = trainer(tmp_path / "live", source, teacher="self", teacher_update="live")
    assert live.teachers["forward_kl@references"].model is live.data.student.model  # type: ignore[attr-defined]


def test_statistics_are_exact_for_a_small_vocabulary_and_buckets_for_a_large_one(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = trainer(tmp_path / "small", source, teacher_statistics="auto").teachers["forward_kl@references"]
    monkeypatch.setattr(build, "EXACT_VOCABULARY", 47)  # the tiny models have 48
    large = trainer(tmp_path / "large", source, teacher_statistics="auto", top_k=5).teachers["forward_kl@references"]
    assert isinstance(small, CachedTeacher) and isinstance(large, CachedTeacher)
    assert (small.top_k, large.top_k) == (None, 5)


def test_a_concise_teacher_reads_the_students_rollouts_under_its_own_prompt(tmp_path: Path) -> None:
    """OPSDC: the same model, told to be concise; reverse KL on the student's rollouts; no solutions needed."""
    bare = write_problems(tmp_path / "bare.jsonl", [{**row, "solution": None} for row in problem_rows()])
    ours = trainer(tmp_path / "run", bare, teacher="self", teacher_prompt="concise", method="uniform", stages="reverse_kl")
    tokenizer, problems = ours.data.student.tokenizer, {problem.id: problem for problem in ours.data.problems}
    for row in ours.data.rows(0, range(8)):
        assert row.student_prompt == prompt_ids(tokenizer, problems[row.problem_id])
        assert row.teacher_prompt == prompt_ids(tokenizer, problems[row.problem_id], "concise") != row.student_prompt
        assert all(row.supervised) and row.weight == 1
    ours.train_or_resume()
    lines = [json.loads(line) for line in (tmp_path / "run" / "training" / "metrics.jsonl").read_text().splitlines()]
    assert all(line["loss"] > 0 and line["response_tokens"] <= 12 for line in lines)


def test_weights_stay_float32_under_bf16_autocast(source: Path, tmp_path: Path) -> None:
    ours = trainer(tmp_path, source, precision="bf16")
    ours.data.student.model.float()
    ours.teachers["forward_kl@references"].model.float()  # type: ignore[attr-defined]
    before = parameters(ours.data.student.model)
    ours.train_or_resume()
    after = parameters(ours.data.student.model)
    assert all(value.dtype == torch.float32 for value in after.values())
    assert any(not torch.equal(after[name], before[name]) for name in before)
    assert all(bool(torch.isfinite(value).all()) for value in after.values())


def test_the_rate_warms_up_at_every_stage_and_follows_the_schedule() -> None:
    assert [rate(step, 4, "linear", 0, [0]) for step in range(4)] == [1, 0.75, 0.5, 0.25]
    assert [rate(step, 6, "constant", 2, [0, 3]) for step in range(6)] == pytest.approx([1 / 3, 2 / 3, 1, 1 / 3, 2 / 3, 1])
    assert rate(2, 4, "cosine", 0, [0]) == pytest.approx(0.5)


def test_the_trainers_rate_is_the_schedules(source: Path, tmp_path: Path) -> None:
    ours = trainer(tmp_path, source, schedule="linear", warmup=1, steps=4)
    ours.train_or_resume()
    lines = [json.loads(line) for line in (tmp_path / "training" / "metrics.jsonl").read_text().splitlines()]
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.05 * rate(step, 4, "linear", 1, [0]) for step in range(4)])


def test_training_arguments_of_this_command_may_not_be_set_twice(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`training_arguments` may not set max_steps"):
        trainer(tmp_path / "a", source, training_arguments={"max_steps": 3})
    for name, value in {"logging_strategy": "no", "warmup_steps": 100, "lr_scheduler_type": "constant", "num_train_epochs": 2}.items():
        with pytest.raises(UserError, match=f"`training_arguments` may not set {name}, which"):
            trainer(tmp_path / name, source, training_arguments={name: value})
    with pytest.raises(UserError, match="`loss` fused makes gradients before fp16's loss scale"):
        trainer(tmp_path / "half", source, training_arguments={"fp16": True}, loss="fused")
    with pytest.raises(UserError, match="`training_arguments`"):
        trainer(tmp_path / "b", source, training_arguments={"no_such": 3})
    with pytest.raises(UserError, match="fsdp shards a model over GPUs; on a CPU leave it out"):
        trainer(tmp_path / "c", source, training_arguments={"fsdp": "full_shard"}, loss="dense")
    with pytest.raises(UserError, match="`teacher_update` ema needs a student in one piece, but fsdp shards it"):
        trainer_config(tmp_path / "d", source, teacher="self", teacher_update="ema", training_arguments={"fsdp": "full_shard"})
    for wrong, message in (
        ({"version": 1}, "fsdp_config version 1 is not supported; give 2"),
        ("fsdp.json", "must be an object here, not a file"),
    ):
        with pytest.raises(UserError, match=message):
            trainer_config(tmp_path / "e", source, loss="dense", training_arguments={"fsdp": True, "fsdp_config": wrong})


def test_a_sharded_student_is_sampled_from_as_a_whole_copy_with_its_present_weights(tmp_path: Path) -> None:
    """FSDP2 over two processes on gloo."""
    done = children.run("-m", "tests.support.sharded_student", tmp_path / "seen.pt")
    assert done.returncode == 0, done.stderr[-3000:]
    (first, first_half), (second, second_half) = torch.load(tmp_path / "seen.pt", weights_only=True)
    expected = tiny_model("qwen3", seed=0).state_dict()
    assert first.keys() == second.keys() == first_half.keys() == second_half.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(first[name], value) and torch.equal(second[name], 2 * value)
        assert torch.equal(first_half[name], value.bfloat16()) and torch.equal(second_half[name], (2 * value).bfloat16())
