"""Against forgetting: the Fisher's diagonal, EWC, KL to the start and CLASSP by hand and by loops; distillations with each, cut short and resumed."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import paced_exp.distill as distill
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.gradients.diagonal import mean_powers
from paced_exp.losses.alignment import Row
from paced_exp.training.classp import CLASSP
from paced_exp.training.config import DistillConfig
from paced_exp.training.keeping import EWC, KLToStart, _log_loss
from paced_exp.training.trainer import PacedTrainer
from tests.support.distill_setup import arguments
from tests.support.tiny_models import PAD, loaded, tiny_model


def rows(count: int = 5) -> list[Row]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for index in range(count):
        prompt = torch.randint(3, 40, (3 + index,), generator=generator).tolist()
        response = torch.randint(3, 40, (2 + index % 3,), generator=generator).tolist()
        made.append(Row(f"r{index}", prompt, prompt, response, [True] * len(response)))
    return made


def log_likelihood(model: Any, row: Row) -> torch.Tensor:
    log_p = model(torch.tensor([row.student_prompt + row.response])).logits[0, len(row.student_prompt) - 1 : -1].log_softmax(-1)
    return log_p.gather(1, torch.tensor(row.response)[:, None]).sum()


# ---- the Fisher's diagonal


def test_the_fisher_of_a_softmax_layer_by_hand() -> None:
    """Two outcomes of probability 1/4 and 3/4 at x = (2, 1): F = x_j^2 p (1 - p), for either outcome. The four y's stand as often as they are likely."""
    layer = nn.Linear(2, 2, bias=False, dtype=torch.float64)
    x = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, torch.log(torch.tensor(3.0, dtype=torch.float64))]]))
    losses = [lambda y=y: -layer(x).log_softmax(-1)[:, y] for y in (0, 1, 1, 1)]
    found = mean_powers(layer, losses)
    torch.testing.assert_close(found["weight"], torch.tensor([[4.0, 1.0], [4.0, 1.0]], dtype=torch.float64) * 3 / 16)


@pytest.mark.parametrize("power", [1.0, 2.0, 2.5])
@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2"])
def test_mean_powers_are_those_of_a_loop_with_autograd(kind: str, power: float) -> None:
    model = tiny_model(kind, dtype=torch.float64)
    student = loaded(model)
    found = mean_powers(model, [lambda row=row: _log_loss(student, row, True) for row in rows()], power)
    expected = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for row in rows():
        gradients = torch.autograd.grad(log_likelihood(model, row), list(model.parameters()))
        for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True):
            expected[name] += gradient.abs() ** power / len(rows())
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-7, atol=1e-12)


# ---- penalties


def test_ewc_by_hand() -> None:
    """strength 3, F = 2 and 5, moved by 0.5 and -1: 3/2 (2 x 0.25 + 5 x 1) = 8.25; gradients 3 x 2 x 0.5 and 3 x 5 x -1."""
    layer = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    penalty = EWC(layer, {"weight": torch.tensor([[2.0, 5.0]])}, 3.0)
    assert float(penalty(layer, 0).detach()) == 0
    with torch.no_grad():
        layer.weight += torch.tensor([[0.5, -1.0]])
    value = penalty(layer, 7)
    assert float(value.detach()) == pytest.approx(8.25)
    torch.testing.assert_close(torch.autograd.grad(value, layer.weight)[0], torch.tensor([[3.0, -15.0]], dtype=torch.float64))


def test_ewc_is_kl_to_second_order() -> None:
    """On a layer with one free direction the Fisher is diagonal, and the penalty is the KL divergence up to third order."""
    layer = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.fill_(0.8)
    p = float(torch.sigmoid(layer.weight.detach()))
    penalty = EWC(layer, {"weight": torch.tensor([[p * (1 - p)]])}, 1.0)
    ratios = []
    for moved in (0.02, 0.01):
        with torch.no_grad():
            layer.weight.fill_(0.8 + moved)
        q = float(torch.sigmoid(layer.weight.detach()))
        kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        ratios.append(abs(float(penalty(layer, 0).detach()) / kl - 1))
    assert ratios[0] < 0.01 and ratios[1] == pytest.approx(ratios[0] / 2, rel=0.2)


def test_kl_to_the_start_is_zero_there_and_a_loop_elsewhere() -> None:
    model = tiny_model("qwen3", dtype=torch.float64)
    before = tiny_model("qwen3", dtype=torch.float64)
    penalty = KLToStart(model, rows(), PAD, batch=2, strength=0.5, seed=4)
    assert float(penalty(model, 0).detach()) == pytest.approx(0, abs=1e-12)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0), dtype=parameter.dtype))
    for step in (0, 1, 2):
        values = []
        for row in penalty.rows(step):
            ids, start = torch.tensor([row.student_prompt + row.response]), len(row.student_prompt) - 1
            log_p, log_q = (m(ids).logits[0, start:-1].log_softmax(-1) for m in (before, model))
            values.append((log_p.exp() * (log_p - log_q)).sum(-1).mean())
        assert float(penalty(model, step).detach()) == pytest.approx(0.5 * float(torch.stack(values).sum().detach()) / 2, rel=1e-9)
    # Five rows in twos: every row in turn, whatever the step begins with.
    turns = [row.problem_id for step in range(5) for row in penalty.rows(step)]
    assert sorted(turns[:5]) == sorted(turns[5:]) == [f"r{index}" for index in range(5)]


# ---- CLASSP


def steps_of(optimizer: type[torch.optim.Optimizer], gradients: list[torch.Tensor], **options: Any) -> torch.Tensor:
    parameter = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    made = optimizer([parameter], lr=0.1, **options)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        made.step()
    return parameter.detach()


def test_with_power_two_and_no_threshold_classp_is_adagrad() -> None:
    gradients = list(torch.randn(6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    torch.testing.assert_close(steps_of(CLASSP, gradients, power=2.0, eps=0.0), steps_of(torch.optim.Adagrad, gradients, eps=0.0))


def test_classp_by_hand() -> None:
    """Power 1, threshold 1. Gradients 2, 1, 0.5 in the first step, then 4, 3, 2. Only squares above 1 move anything or are added up.

    First step: 0.1 x 2/2; nothing; nothing. Second: 0.1 x 4/6; 0.1 x 3/3; 0.1 x 2/2.
    """
    gradients = [torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64), torch.tensor([4.0, 3.0, 2.0], dtype=torch.float64)]
    found = steps_of(CLASSP, gradients, power=1.0, threshold=1.0, eps=0.0)
    torch.testing.assert_close(found, torch.tensor([1 - 0.1 - 0.1 * 4 / 6, -2 - 0.1, 0.5 - 0.1], dtype=torch.float64))


def test_classp_starts_from_what_earlier_tasks_added_up() -> None:
    parameter = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    made = CLASSP([parameter], lr=1.0, power=2.0, eps=0.0, start={parameter: torch.tensor([0.0, 15.0])})
    parameter.grad = torch.ones(2, dtype=torch.float64)
    made.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([-1.0, -0.25], dtype=torch.float64))  # 1/sqrt(1), 1/sqrt(16)


# ---- distillation with each


class Killed(BaseException):
    """In place of SIGKILL: nothing catches it."""


def run(models: Path, source: Path, out: Path, **changes: Any) -> dict[str, torch.Tensor]:
    rehearsal = {"rehearsal": source, "rehearsal-limit": 6} if "forgetting" in changes else {}
    rehearsal |= {"rehearsal-batch": 3} if changes.get("forgetting") == "kl" else {}
    options = {**rehearsal, "method": "uniform", "reference": "solution", **changes}
    distill.main(arguments(models, source, out, **options))
    return load_file(out / "model" / "model.safetensors")


@pytest.mark.usefixtures("hash_grader")
@pytest.mark.parametrize("forgetting", ["ewc", "kl", "classp"])
def test_a_run_that_is_cut_short_ends_with_the_same_weights(
    forgetting: str, models: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"forgetting": forgetting, "loss": "dense"}
    expected = run(models, source, tmp_path / "whole", **options)
    compute = PacedTrainer.compute_loss

    def stop(self: PacedTrainer, *given: Any, **more: Any) -> Any:
        if self.state.global_step == 3:
            raise Killed
        return compute(self, *given, **more)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(PacedTrainer, "compute_loss", stop)
        run(models, source, tmp_path / "cut", **options)
    found = run(models, source, tmp_path / "cut", **options)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    plain = run(models, source, tmp_path / "plain", loss="dense")
    assert any(not torch.equal(expected[name], plain[name]) for name in expected)
    records = [read_json(tmp_path / name / "record.json")["training"] for name in ("whole", "plain")]
    assert records[0]["keeping_flops"] > 0 and "keeping_flops" not in records[1]
    assert (records[0]["flops"] > records[1]["flops"]) == (forgetting != "classp")


@pytest.mark.usefixtures("hash_grader")
@pytest.mark.parametrize("forgetting", ["ewc", "kl"])
def test_the_penalty_counts_once_an_update_and_keeps_the_student(forgetting: str, models: Path, source: Path, tmp_path: Path) -> None:
    """As one micro-batch or as four; and a strong penalty leaves less distance from the start than none."""
    strong = {"forgetting": forgetting, "forgetting-strength": 300}
    one = run(models, source, tmp_path / "one", **strong, **{"micro-batch": 8})
    four = run(models, source, tmp_path / "four", **strong, **{"micro-batch": 2})
    for name in one:
        torch.testing.assert_close(one[name], four[name], rtol=0, atol=2e-4)
    before = load_file(models / "student" / "model.safetensors")

    def distance(weights: dict[str, torch.Tensor]) -> float:
        return sum(float((weights[name] - before[name]).square().sum()) for name in before) ** 0.5

    assert distance(one) < 0.9 * distance(run(models, source, tmp_path / "none"))


@pytest.mark.usefixtures("hash_grader")
def test_refusals(models: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`rehearsal_batch` 3 has no effect with `forgetting` none"):
        DistillConfig(rehearsal_batch=3)
    with pytest.raises(UserError, match="`forgetting_strength` 2 only applies to `forgetting` ewc and kl; leave it out with classp"):
        DistillConfig(forgetting="classp", forgetting_strength=2.0)
    with pytest.raises(UserError, match="`rehearsal_batch` 3 only applies to `forgetting` kl; leave it out with ewc"):
        DistillConfig(forgetting="ewc", rehearsal_batch=3)
    with pytest.raises(UserError, match=r"`classp_power` 1.5 only applies to `forgetting` classp; leave it out with kl"):
        DistillConfig(forgetting="kl", classp_power=1.5)
    with pytest.raises(UserError, match=r"`weight_decay` 0.1 is AdamW's, which `forgetting` classp replaces"):
        DistillConfig(forgetting="classp", weight_decay=0.1)
    with pytest.raises(UserError, match="needs a student in one piece, which --training-arguments deepspeed shards"):
        run(models, source, tmp_path / "out", forgetting="ewc", loss="dense", **{"training-arguments": '{"deepspeed": "x.json"}'})


def test_a_rehearsal_that_is_no_source_is_named(models: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no/such"):
        run(models, source, tmp_path / "out", forgetting="ewc", rehearsal="no/such.jsonl")
    assert not (tmp_path / "out").exists()
