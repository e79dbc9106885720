"""The weighted losses inside verl's own aggregation, on rows that went through verl's own loader, tensors and micro-batches."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from paced_exp.core.errors import UserError

with warnings.catch_warnings(action="ignore"):  # that engines of GPUs are not installed
    from verl.trainer.distillation.losses import DISTILLATION_LOSS_REGISTRY, distillation_loss, get_distillation_loss_settings
    from verl.trainer.ppo.core_algos import kl_penalty
    from verl.utils import tensordict_utils
    from verl.workers.config import ActorConfig, DistillationLossConfig
    from verl.workers.engine.utils import prepare_micro_batches

    from paced_exp.integrations import verl as paced_verl

WEIGHTS = [0.5, 2.0, 1.25, 0.25]
LENGTHS = [(3, 2), (2, 4), (4, 1), (1, 3)]  # tokens of prompt and response
RNG = np.random.default_rng(0)


class Distillation:
    """What the losses read of verl's DistillationConfig, whose teachers need GPUs."""

    def __init__(self, **options: Any) -> None:
        self.distillation_loss = DistillationLossConfig(use_task_rewards=False, **options)


def actor() -> ActorConfig:
    return ActorConfig(
        strategy="fsdp", rollout_n=1, ppo_mini_batch_size=4, ppo_micro_batch_size_per_gpu=1, loss_agg_mode="seq-mean-token-mean"
    )


def rows(weights: list[float] | None = WEIGHTS) -> list[dict[str, Any]]:
    """As verl's agent loop stores them: tensors of each response's own length, and the row's columns beside them."""
    made = []
    for number, (prompt, response) in enumerate(LENGTHS):
        tokens = torch.arange(prompt + response)
        row = {
            "prompts": tokens[:prompt],
            "responses": tokens[prompt:],
            "input_ids": tokens,
            "response_mask": torch.ones(response, dtype=torch.int64),
            "teacher_logprobs": torch.tensor(RNG.normal(-2, 1, (prompt + response, 1)), dtype=torch.float32),
            "old_log_probs": torch.zeros(response),
            "number": number,
        }
        made.append(row if weights is None else {**row, "paced_weight": weights[number]})
    return made


def batch(made: list[dict[str, Any]], parts: int) -> list[Any]:
    """verl's mini-batch, shuffled as it does, split into micro-batches as it does."""
    data = tensordict_utils.list_of_dict_to_tensordict(made)
    (mini,) = tensordict_utils.make_iterator(data, mini_batch_size=4, epochs=1, seed=1, dataloader_kwargs={"shuffle": True})
    tensordict_utils.assign_non_tensor(mini, use_dynamic_bsz=False, micro_batch_size_per_gpu=4 // parts)
    micro, _ = prepare_micro_batches(mini)
    for part in micro:
        tensordict_utils.assign_non_tensor(part, dp_size=1, batch_num_tokens=10, global_batch_size=4)
    return micro


def student_of(made: list[dict[str, Any]]) -> list[torch.Tensor]:
    return [torch.tensor(RNG.normal(-2, 1, len(row["input_ids"])), dtype=torch.float32, requires_grad=True) for row in made]


def total(micro: list[Any], students: list[torch.Tensor], distillation: Distillation, **outputs: Any) -> torch.Tensor:
    """The sum of the micro-batches' losses, as the engine backpropagates them."""
    config, losses = actor(), []
    for part in micro:
        own = [students[number] for number in tensordict_utils.get(part, "number")]
        nested = torch.nested.as_nested_tensor(own, layout=torch.jagged)
        loss, _ = distillation_loss(config, distillation, {"log_probs": nested, **{k: v(own) for k, v in outputs.items()}}, part)
        losses.append(loss)
    return torch.stack(losses).sum()


def responses(row: dict[str, Any], tokens: torch.Tensor) -> torch.Tensor:
    """Of values a token, those that predict the response's."""
    prompt, response = len(row["prompts"]), len(row["responses"])
    return tokens[prompt - 1 : prompt + response - 1]


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_a_backpropagated_loss_is_the_weighted_mean_over_responses(estimator: str, parts: int) -> None:
    made = rows()
    students = student_of(made)
    distillation = Distillation(loss_mode=f"paced_{estimator}", use_policy_gradient=False, loss_max_clamp=None)
    found = total(batch(made, parts), students, distillation)
    by_hand = []
    for row, student, weight in zip(made, students, WEIGHTS, strict=True):
        own, teacher = responses(row, student), responses(row, row["teacher_logprobs"].squeeze(-1))
        by_hand.append(weight * kl_penalty(own, teacher, estimator).mean())
    expected = torch.stack(by_hand).sum() / 4
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    for mine, theirs in zip(torch.autograd.grad(found, students), torch.autograd.grad(expected, students), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("parts", [1, 4])
def test_as_advantages_the_gradient_is_each_response_s_times_its_weight(parts: int) -> None:
    made = rows()
    students = student_of(made)
    for row, student in zip(made, students, strict=True):
        row["old_log_probs"] = responses(row, student).detach().clone()  # the ratio is one
    found = total(batch(made, parts), students, Distillation(loss_mode="paced_k1", loss_max_clamp=None))
    gradients = torch.autograd.grad(found, students)
    for row, student, weight, gradient in zip(made, students, WEIGHTS, gradients, strict=True):
        own, teacher = responses(row, student).detach(), responses(row, row["teacher_logprobs"].squeeze(-1))
        expected = weight * (own - teacher) / len(own) / 4  # minus the advantage, a token's share of its response, of four
        torch.testing.assert_close(responses(row, gradient), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("parts", [1, 2])
def test_the_top_k_loss_is_weighted_too(parts: int) -> None:
    made = rows()
    students = student_of(made)
    distillation = Distillation(loss_mode="paced_forward_kl_topk", use_policy_gradient=False, loss_max_clamp=None)

    def squared(own: list[torch.Tensor]) -> torch.Tensor:
        return torch.nested.as_nested_tensor([tokens**2 for tokens in own], layout=torch.jagged)

    found = total(batch(made, parts), students, distillation, distillation_losses=squared, student_mass=squared, teacher_mass=squared)
    by_hand = [w * (responses(row, student) ** 2).mean() for row, student, w in zip(made, students, WEIGHTS, strict=True)]
    expected = torch.stack(by_hand).sum() / 4
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert get_distillation_loss_settings("paced_forward_kl_topk").use_topk


def test_verl_loads_the_module_by_its_name() -> None:
    code = (
        "import verl.trainer.distillation.losses as losses; print([name for name in losses.DISTILLATION_LOSS_REGISTRY if 'paced' in name])"
    )
    own = {"VERL_USE_EXTERNAL_MODULES": "paced_exp.integrations.verl"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **own}, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['paced_k1', 'paced_k2', 'paced_k3', 'paced_forward_kl_topk']"
    assert {f"paced_{mode}" for mode in paced_verl.ESTIMATORS} <= set(DISTILLATION_LOSS_REGISTRY)


def test_what_would_be_wrong_is_refused() -> None:
    made = rows()
    with pytest.raises(UserError, match="paced_k1 must not be backpropagated"):
        total(batch(made, 1), student_of(made), Distillation(loss_mode="paced_k1", use_policy_gradient=False))
    bare = rows(None)
    with pytest.raises(UserError, match="the training file has no column 'paced_weight'"):
        total(batch(bare, 1), student_of(bare), Distillation(loss_mode="paced_k3", use_policy_gradient=False))


def test_verl_s_loader_reads_the_exported_file_and_keeps_each_row_s_weight(tmp_path: Path) -> None:
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn
    from verl.utils.reward_score import default_compute_score

    from paced_exp.data.problem import Problem
    from paced_exp.data.problem_tables import Counts
    from paced_exp.integrations.exported_rows import verl_rows
    from paced_exp.weighting import Weighting

    problems = [Problem(f"p{i}", f"What is {i} + {i}?", str(2 * i), None, "here", "train", "math") for i in range(6)]
    exported = verl_rows(problems, Counts([p.id for p in problems], np.arange(6), np.full(6, 6)), Weighting())
    pq.write_table(pa.Table.from_pylist(exported), tmp_path / "train.parquet")
    options = OmegaConf.create({"cache_dir": str(tmp_path / "cache"), "filter_overlong_prompts": False})
    loaded = RLHFDataset(str(tmp_path / "train.parquet"), tokenizer=None, config=options)
    assert len(loaded) == 5  # p0 has weight zero
    collated = collate_fn([loaded[place] for place in range(5)])
    assert collated["paced_weight"].tolist() == [row["paced_weight"] for row in exported]
    assert [messages[0]["content"].split("\n")[0] for messages in collated["raw_prompt"]] == [p.prompt for p in problems[1:]]
    assert collated["index"].tolist() == [1, 2, 3, 4, 5]
    truth = loaded[2]["reward_model"]["ground_truth"]
    assert [default_compute_score(loaded[2]["data_source"], f"so \\boxed{{{answer}}}", truth) for answer in ("6", "7")] == [1.0, 0.0]
