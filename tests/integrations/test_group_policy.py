"""The teacher's trainer against TRL's own advantages and against a loop over rollouts with whole logits; the command, its resumption, its refusals."""

import ast
import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

import paced_exp.teacher as teacher
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.data.hints import hinted
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import prompt_ids
from paced_exp.data.sources import load_problems
from paced_exp.grading import grader as grading
from paced_exp.integrations.trl import policy_run
from paced_exp.integrations.trl.group_policy import GroupPolicyTrainer, ResumableSampler, shaped_slope
from paced_exp.models.loading import load_model
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.groups import RunContext
from paced_exp.training.teacher_config import TeacherConfig
from paced_exp.weighting.advantages import error_penalty, group_advantages, group_weights
from tests.support.distill_setup import save_models, write_problems
from tests.support.graders import HashGrader
from tests.support.tiny_models import tiny_model
from tests.support.trl_setup import Gradients, flat_gradient

K, BATCH = 4, 5


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sums with two lines of work."""
    rows = [
        {"id": f"sum{i:02}", "prompt": f"{i}+{i}=", "answer": str(2 * i), "solution": f"1+1=2\n2+{i}=3\n\\boxed{{{i}}}", "grader": "exact"}
        for i in range(20)
    ]
    return write_problems(tmp_path_factory.mktemp("problems") / "sums.jsonl", rows)


class GuidedGrader(HashGrader):
    """As HashGrader for plain problems. Where a hint was given (it stands for the solution then), every second rollout passes."""

    def grade(self, problems: list[Problem], responses: list[str]) -> list[bool]:
        passed = super().grade(problems, responses)
        return [
            place % 2 == 0 if problem.solution and "boxed" not in problem.solution else own
            for place, (problem, own) in enumerate(zip(problems, passed, strict=True))
        ]


class Watched(GroupPolicyTrainer):
    """Keeps what each micro-batch was computed from, and TRL's own advantages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[dict[str, Any]] = []
        super().__init__(*args, **kwargs)
        self.gradients = Gradients()
        self.add_callback(self.gradients)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        self.seen.append({name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)})
        return super()._compute_loss(model, inputs)


def trainer(folder: Path, models: Path, source: Path, moved: float = 0.0, **changes: Any) -> Watched:
    """One update on tiny models. moved: how far the policy is from its reference."""
    options: dict[str, Any] = {"batch": BATCH, "K": K, "micro_batch": 10, "steps": 1, "max_new_tokens": 8, "kl": 0.05, **changes}
    config = TeacherConfig(student=str(models / "student"), problems=str(source), out=str(folder), device="cpu", seed=3, **options)
    student = load_model(config.student, device="cpu", dtype="float32")
    args = policy_run.training_arguments(config, folder / "training", 20, student.device)
    context = RunContext(folder, Engines(config), GuidedGrader())  # type: ignore[arg-type]
    made = Watched(config, args, context, student, load_problems(str(source)))
    if moved:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in made.model.parameters():
                parameter.add_(moved * torch.randn(parameter.shape, generator=generator))
    made.train_or_resume()
    return made


def log_probabilities(model: Any, prompt: list[int], response: list[int]) -> torch.Tensor:
    logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return logits.gather(1, torch.tensor(response)[:, None])[:, 0]


def moved_model(moved: float) -> Any:
    model = tiny_model("qwen3", seed=0, context=160)
    if moved:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(moved * torch.randn(parameter.shape, generator=generator))
    return model.double()


def dense_gradient(made: Watched, moved: float) -> torch.Tensor:
    """The gradient of the update's loss from a loop over the rollouts, in double precision."""
    config, groups = made.config, made.groups
    assert groups is not None
    policy, reference = moved_model(moved), moved_model(0.0)
    rewards = np.array([[rollout.correct for rollout in group] for group in groups.rollouts], dtype=float)
    advantages = group_advantages(rewards, config.advantage, config.positive_weight)
    weights = group_weights(rewards, config.group_weight)
    guided = [rollout for group in groups.rollouts for rollout in group if rollout.guided]
    with torch.no_grad():
        ratios = [
            (log_probabilities(policy, one.prompt, one.response) - log_probabilities(policy, one.read, one.response)).exp()
            for one in guided
        ]
    gammas = {id(one): max(1e-4, float(np.quantile(own.numpy(), 0.9))) for one, own in zip(guided, ratios, strict=True)}
    losses = []
    for row, group in enumerate(groups.rollouts):
        for column, rollout in enumerate(group):
            log_pi = log_probabilities(policy, rollout.prompt, rollout.response)
            log_ref = log_probabilities(reference, rollout.prompt, rollout.response).detach()
            log_old = log_probabilities(policy, rollout.read, rollout.response).detach()
            A = advantages[row, column]
            if config.error_penalty:
                A = float(error_penalty(np.array([A]), np.array([float((log_pi.detach() - log_ref).sum())]), config.error_penalty)[0])
            A *= weights[row]
            ratio = (log_pi - log_old).exp()
            clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
            # TRL's KL: the estimate exp(d) - d - 1 of d = log ref - log pi, times the ratio to the policy before the update, which is one.
            kl = ((log_ref - log_pi).exp() - (log_ref - log_pi) - 1) * (log_pi - log_pi.detach()).exp()
            gained = ratio / (ratio + gammas[id(rollout)]) * A if rollout.guided else torch.minimum(ratio * A, clipped * A)
            token_losses = -gained + float(config.kl or 0) * kl
            losses.append(token_losses)
    if config.advantage == "grpo":  # the mean of each response's mean
        loss = torch.stack([tokens.mean() for tokens in losses]).mean()
    elif config.advantage == "dr_grpo":  # by the limit on tokens
        loss = torch.cat(losses).sum() / (len(losses) * config.max_new_tokens)
    else:  # the mean of the update's tokens
        loss = torch.cat(losses).mean()
    loss.backward()
    return flat_gradient(policy)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"advantage": "dr_grpo", "group_weight": "maxrl"},
        {"advantage": "w_reinforce", "error_penalty": 1.0},
        {"advantage": "nsr", "group_weight": "paced"},
        {"advantage": "psr"},
        {"error_penalty": 2.0, "group_weight": "paced", "kl": 0.2},
        {"guide": 0.5},
        {"guide": 1.0, "advantage": "maxrl", "error_penalty": 1.0},
    ],
    ids=str,
)
def test_the_gradient_is_that_of_a_loop_over_rollouts(options: dict[str, Any], models: Path, source: Path, tmp_path: Path) -> None:
    moved = 0.02
    made = trainer(tmp_path, models, source, moved, **options)
    (found,) = made.gradients.kept
    expected = dense_gradient(made, moved)
    clip = min(1.0, float(made.config.max_grad_norm or 0) / (float(expected.norm()) + 1e-6))  # Trainer clips before the callback
    assert float((found - clip * expected).norm() / (clip * expected.norm())) < 2e-5
    groups = made.groups
    assert groups is not None and {rate == 0 for rate in groups.rates} == {True, False}
    assert any(rollout.guided for group in groups.rollouts for rollout in group) == bool(options.get("guide"))


def test_the_slope_is_that_of_the_shaped_ratio_and_padding_does_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    logs = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    counted = torch.arange(7) < torch.tensor([[7], [4], [2]])
    gamma = torch.tensor([[float(np.quantile(row.exp()[:count].numpy(), 0.9))] for row, count in zip(logs, (7, 4, 2), strict=True)])
    variable = logs.clone().requires_grad_()
    ratios = variable.exp()  # r f'(r) is the derivative by log r
    (slope,) = torch.autograd.grad((ratios / (ratios + gamma)).sum(), variable)
    found = shaped_slope(logs.exp(), counted)
    torch.testing.assert_close(found, slope)
    assert float(found.max()) <= 0.25
    unlikely = shaped_slope(torch.full((1, 4), 1e-9, dtype=torch.float64), torch.ones(1, 4, dtype=torch.bool))  # gamma's floor, 1e-4
    torch.testing.assert_close(unlikely, torch.full((1, 4), 1e-5, dtype=torch.float64), rtol=1e-4, atol=0)


def test_grpos_advantages_are_those_that_trl_computes(models: Path, source: Path, tmp_path: Path) -> None:
    made = trainer(tmp_path, models, source, 0.02)
    theirs = torch.tensor(list(made._logs["advantages"]))
    ours = torch.cat([inputs["advantages"] for inputs in made.seen])
    assert len(ours) == K * BATCH
    torch.testing.assert_close(ours.sort().values, theirs.sort().values)
    assert made.groups is not None and 0 < np.mean(made.groups.rates) < 1


def test_guided_rollouts_are_sampled_behind_the_hint_and_trained_behind_the_plain_prompt(
    models: Path, source: Path, tmp_path: Path
) -> None:
    made = trainer(tmp_path, models, source, guide=0.5)
    assert made.groups is not None
    by_id = {problem.id: problem for problem in load_problems(str(source))}
    tokenizer = made.student.tokenizer
    for rate, group in zip(made.groups.rates, made.groups.rollouts, strict=True):
        for rollout in group:
            assert rollout.guided == (rate == 0) and rollout.prompt == prompt_ids(tokenizer, by_id[rollout.problem_id])
            if rollout.guided:
                hint = hinted(by_id[rollout.problem_id], 0.5)
                assert hint is not None and hint.solution == "1+1=2" and rollout.read == prompt_ids(tokenizer, hint, "privileged")
    read = {
        tuple(ids[mask.bool()].tolist())
        for inputs in made.seen
        for ids, mask in zip(inputs["prompt_ids"], inputs["prompt_mask"], strict=True)
    }
    assert read == {tuple(group[0].prompt) for group in made.groups.rollouts}


HOOKS = {
    "_generate_and_score_completions": ["self", "inputs"],
    "_save_checkpoint": ["self", "model", "trial"],
    "log": ["self", "logs", "start_time"],
}


@pytest.mark.parametrize("name", HOOKS)
def test_trl_still_calls_what_is_overridden(name: str) -> None:
    """A method that TRL renames would be overridden in vain, and silently."""
    for trainer_class in (GRPOTrainer, GroupPolicyTrainer):
        assert list(inspect.signature(getattr(trainer_class, name)).parameters) == HOOKS[name]
    sources = inspect.getsource(GRPOTrainer) + inspect.getsource(Trainer)
    calls = [node.func for node in ast.walk(ast.parse(sources)) if isinstance(node, ast.Call)]
    assert name in {function.attr for function in calls if isinstance(function, ast.Attribute)}
    # Read, not overridden: log-probabilities as TRL's loss has them, and the keys that the loss takes them by.
    assert "batch_size" in inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
    loss = inspect.getsource(GRPOTrainer._compute_loss)
    assert all(f'"{key}"' in loss for key in ("advantages", "ref_per_token_logps", "completion_mask"))
    assert "if advantages.dim() == 1" in loss  # guided rows have an advantage a token


def arguments(models: Path, source: Path, out: Path, **changes: Any) -> list[str]:
    options = {
        "student": models / "student", "problems": source, "-K": 4, "max-new-tokens": 8, "batch": 4, "micro-batch": 8, "steps": 4,
        "checkpoint-every": 2, "learning-rate": 1e-3, "evaluate": "none", "device": "cpu", "seed": 3, "out": out, **changes,
    }  # fmt: skip
    return [text for name, value in options.items() for text in (name if name.startswith("-") else f"--{name}", str(value))]


@pytest.fixture
def hash_grader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "Grader", HashGrader)


class Killed(BaseException):
    """In place of SIGKILL: nothing catches it."""


@pytest.mark.usefixtures("hash_grader")
def test_a_killed_run_ends_with_the_same_weights(models: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 8 problems, 4 an update: the kill at the fourth update is in the second pass.
    options = {"guide": 0.5, "error-penalty": 1, "limit": 8}
    teacher.main(arguments(models, source, tmp_path / "whole", **options))
    with monkeypatch.context() as patch:
        roll_out = GroupPolicyTrainer._roll_out

        def killed(self: GroupPolicyTrainer, *given: Any) -> Any:
            if self.state.global_step == 3:
                raise Killed
            return roll_out(self, *given)

        patch.setattr(GroupPolicyTrainer, "_roll_out", killed)
        with pytest.raises(Killed):
            teacher.main(arguments(models, source, tmp_path / "killed", **options))
    teacher.main(arguments(models, source, tmp_path / "killed", **options))
    expected, found = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    before = load_file(models / "student" / "model.safetensors")
    assert any(not torch.equal(before[name], found[name]) for name in before)
    records = [read_json(tmp_path / name / "record.json") for name in ("whole", "killed")]
    assert records[0]["training"] == records[1]["training"]
    lines = [json.loads(line) for line in (tmp_path / "killed" / "training" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    spent = records[0]["training"]
    # 4 updates of 4 problems with 4 rollouts, and again with a hint where none passed.
    assert spent["rollouts"]["responses"] == 64 + spent["rollouts"]["guided"] and spent["rollouts"]["guided"] > 0
    assert min(spent["flops"].values()) > 0


@pytest.mark.usefixtures("hash_grader")
def test_the_result_is_evaluated_and_serves_as_a_teacher(models: Path, source: Path, tmp_path: Path) -> None:
    import paced_exp.distill as distill

    teacher.main(arguments(models, source, tmp_path / "t", evaluate=source, samples=4, retention="lab:retention", **{"evaluate-limit": 6}))
    record = read_json(tmp_path / "t" / "record.json")
    (row,) = record["evaluation"]["sources"]
    assert row["problems"] == 6 and sorted(row["pass_at"]) == ["1", "2", "3", "4"]
    assert record["evaluation"]["against"]["model"] == str(models / "student")
    assert "trained by policy gradient" in (tmp_path / "t" / "model" / "README.md").read_text()
    distill.main(
        [
            *("--student", str(models / "student"), "--teacher", str(tmp_path / "t" / "model"), "--problems", str(source)),
            *("-K", "2", "--max-new-tokens", "8", "--batch", "4", "--micro-batch", "4", "--steps", "1", "--evaluate", "none"),
            *("--device", "cpu", "--out", str(tmp_path / "d")),
        ]
    )
    assert read_json(tmp_path / "d" / "record.json")["training"]["updates"] == 1


def test_presets_fill_what_is_left_out() -> None:
    paper = TeacherConfig(preset="paper", max_new_tokens=4096)
    assert (paper.K, paper.kl, paper.learning_rate, paper.batch, paper.schedule, paper.epochs) == (8, 0.001, 1e-6, 128, "cosine", 2.0)
    assert paper.steps is None and TeacherConfig(preset="paper", steps=7).epochs is None
    lab = TeacherConfig()
    assert (lab.steps, lab.epochs, lab.batch) == (120, None, 16) and TeacherConfig(kl=0.0).kl == 0.0
    assert dataclasses.replace(lab, seed=1).steps == 120
    assert (lab.micro_batch, paper.micro_batch) == (128, 8)
    assert TeacherConfig(batch=6, K=4).micro_batch == 8, "the largest part of the preset's that divides the rollouts"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"K": 1}, "`K` 1 must be at least 2"),
        ({"error_penalty": 1.0, "kl": 0.0}, "`error_penalty` compares with the model before training"),
        ({"error_penalty": 1.0, "advantage": "psr"}, "no negative advantages"),
        ({"positive_weight": 0.3}, "`positive_weight` 0.3 only applies to `advantage` w_reinforce"),
        ({"group_weight": "curve"}, "`group_weight` curve is not known"),
        ({"guide": 1.5}, "`guide` 1.5 must be from 0"),
        ({"guide": 0.5, "group_weight": "paced"}, "`guide` 0.5 replaces failed rollouts by hinted ones"),
        ({"micro_batch": 3}, "`micro_batch` 3 must divide the 128 rollouts"),
        ({"steps": 1, "epochs": 1.0}, "both say how long"),
    ],
    ids=str,
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TeacherConfig(**options)


def test_passes_are_those_of_trls_sampler_and_each_can_be_resumed() -> None:
    given = {"mini_repeat_count": 2, "batch_size": 3, "repeat_count": 1, "seed": 5}
    theirs = RepeatSampler(range(11), **given)
    passes = [list(theirs) for _ in range(4)]
    assert len({tuple(one) for one in passes}) == 4
    for epoch in (2, 0, 3):
        ours = ResumableSampler(range(11), **given)
        ours.set_epoch(epoch)
        assert list(ours) == passes[epoch]


def test_solutions_of_one_line_give_no_hint_and_a_run_with_none_is_refused(models: Path, tmp_path: Path) -> None:
    rows = [
        {"id": f"s{i}", "prompt": f"{i}+1=", "answer": str(i + 1), "solution": f"so \\boxed{{{i + 1}}}", "grader": "exact"}
        for i in range(8)
    ]
    source = write_problems(tmp_path / "short.jsonl", rows)
    with pytest.raises(UserError, match=r"--guide 0.5 finds no hint in any of the 8 problems"):
        teacher.main(arguments(models, source, tmp_path / "out", guide=0.5))
    assert not (tmp_path / "out").exists()


def test_more_problems_an_update_than_there_are(models: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--batch 40 is more than the 20 problems"):
        teacher.main(arguments(models, source, tmp_path / "out", batch=40))
    assert not (tmp_path / "out").exists()
