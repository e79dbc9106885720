"""The gradient of expected accuracy from rollouts: unbiased by enumeration, and equal to what plain loops and the exact accuracy give."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import t as t_law

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import prompt_ids
from paced_exp.models.loading import LoadedModel
from paced_exp.probe.accuracy_gradient import (
    GROUPS,
    Direction,
    Directions,
    accuracy_gradients,
    advantages,
    in_groups,
    kept_tensors,
    norm_squared,
)
from paced_exp.probe.config import ProbeConfig
from paced_exp.rollouts.store import ChunkStore
from tests.support.tiny_models import VOCABULARY, loaded, tiny_model

PROBLEMS = [Problem(f"sum{number}", f"{number}+{number}=", str(2 * number), "", "", "", "exact") for number in range(11)]


def student_of(kind: str = "qwen3") -> LoadedModel:
    return loaded(tiny_model(kind, dtype=torch.float64))


def store_of(folder: Path, rollouts: dict[str, list[tuple[list[int], bool]]]) -> ChunkStore:
    """A store of these (token ids, correct) by problem."""
    store = ChunkStore(folder, "rollouts")
    for name, group in rollouts.items():
        store.append(
            [
                {"problem_id": name, "sample": s, "seed": s, "token_ids": ids, "finished": True, "response": "", "correct": correct}
                for s, (ids, correct) in enumerate(group)
            ]
        )
    return store


def score(student: LoadedModel, problem: Problem, response: list[int]) -> torch.Tensor:
    """log pi(response | problem), by a forward pass of its own."""
    prompt = prompt_ids(student.tokenizer, problem)
    log_p = student.model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    total: torch.Tensor = log_p.gather(-1, torch.tensor(response)[:, None]).sum()
    return total


def each(groups: Directions) -> list[Direction]:
    return [{name: values[number] for name, values in groups.items()} for number in range(GROUPS)]


def flat(student: LoadedModel, direction: Direction) -> torch.Tensor:
    return torch.cat([direction[name].flatten() for name, _ in student.model.named_parameters()])


def gradient(student: LoadedModel, value: torch.Tensor) -> torch.Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, list(student.model.parameters()))])


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_the_estimator_is_unbiased_over_all_that_can_be_sampled(samples: int) -> None:
    rng = np.random.default_rng(samples)
    logits, rewards = rng.normal(size=3), np.array([1, 0, 1])
    p = np.exp(logits) / np.exp(logits).sum()
    scores = np.eye(3) - p  # grad log p(y) in the logits, by y
    mean = sum(
        p[list(drawn)].prod() * advantages(rewards[list(drawn)]) @ scores[list(drawn)]
        for drawn in itertools.product(range(3), repeat=samples)
    )
    np.testing.assert_allclose(mean, p * (rewards - p @ rewards), rtol=1e-12)  # grad of sum_y p(y) r(y)


def test_all_correct_or_all_wrong_say_nothing() -> None:
    assert not advantages(np.ones(5)).any() and not advantages(np.zeros(2)).any()
    assert advantages(np.array([1, 0])).tolist() == [0.5, -0.5]


@pytest.mark.parametrize("loss", ["fused", "dense"])
@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_the_groups_hold_what_a_loop_over_rollouts_gives(kind: str, loss: str, tmp_path: Path) -> None:
    student, rng = student_of(kind), np.random.default_rng(0)
    rollouts: dict[str, list[tuple[list[int], bool]]] = {
        # Few distinct responses, so that some recur with and without success.
        problem.id: [([int(rng.integers(3, 6)) for _ in range(rng.integers(1, 3))], bool(rng.integers(2))) for _ in range(5)]
        for problem in PROBLEMS
    }
    rollouts["sum3"] = [([7], True)] * 5
    found = accuracy_gradients(PROBLEMS, store_of(tmp_path, rollouts), student, ProbeConfig(loss=loss, batch_tokens=60), tmp_path / "kept")
    assert {len(values) for values in found.values()} == {GROUPS}
    for group, direction in zip(in_groups(PROBLEMS), each(found), strict=True):
        expected = torch.zeros(sum(p.numel() for p in student.model.parameters()), dtype=torch.float64)
        for problem in group:
            for index, (response, correct) in enumerate(rollouts[problem.id]):
                others = [r for other, (_, r) in enumerate(rollouts[problem.id]) if other != index]
                expected += (correct - np.mean(others)) / 5 * gradient(student, score(student, problem, response))
        torch.testing.assert_close(flat(student, direction), GROUPS / len(PROBLEMS) * expected, rtol=1e-5, atol=1e-6)  # RMSNorm is float32
    part = accuracy_gradients(
        PROBLEMS, ChunkStore(tmp_path, "rollouts"), student, ProbeConfig(loss=loss, only="model.layers.1"), tmp_path / "part"
    )
    assert set(part) == {name for name, _ in student.model.named_parameters() if "layers.1" in name}
    torch.testing.assert_close(part["model.layers.1.mlp.up_proj.weight"], found["model.layers.1.mlp.up_proj.weight"])


def test_its_mean_is_the_gradient_of_the_exact_accuracy(tmp_path: Path) -> None:
    # Responses of one token: the accuracy is a sum over the vocabulary, and its gradient autograd's.
    student, rng = student_of(), np.random.default_rng(1)
    right = set(range(0, VOCABULARY, 3))
    problems = [Problem(f"p{number}", f"{number}-{number % 7}=", "0", "", "", "", "exact") for number in range(64)]
    rollouts: dict[str, list[tuple[list[int], bool]]] = {}
    accuracy = torch.zeros((), dtype=torch.float64)
    for problem in problems:
        p = student.model(torch.tensor([prompt_ids(student.tokenizer, problem)])).logits[0, -1].softmax(-1)
        accuracy = accuracy + p[sorted(right)].sum() / len(problems)
        drawn = rng.choice(VOCABULARY, size=12, p=p.detach().numpy())
        rollouts[problem.id] = [([int(token)], int(token) in right) for token in drawn]
    exact = gradient(student, accuracy)
    groups = accuracy_gradients(problems, store_of(tmp_path, rollouts), student, ProbeConfig(), tmp_path / "kept")
    found = torch.stack([flat(student, direction) for direction in each(groups)])
    along = (found @ exact / exact.norm()).numpy()
    half = float(t_law.ppf(0.995, GROUPS - 1)) * along.std(ddof=1) / GROUPS**0.5
    assert abs(along.mean() - float(exact.norm())) < half < 0.6 * float(exact.norm()), (along, exact.norm(), half)


def test_the_squared_norm_is_without_the_groups_noise() -> None:
    rng = np.random.default_rng(2)
    truth, found = rng.normal(size=(4, 5)), []
    metric = {"w": torch.from_numpy(rng.exponential(size=(4, 5)))}
    for _ in range(800):
        found.append(norm_squared({"w": torch.from_numpy(truth + 3 * rng.normal(size=(GROUPS, 4, 5)))}, metric))
    exact = float((truth**2 * metric["w"].numpy()).sum())
    assert np.mean(found) == pytest.approx(exact, abs=4 * np.std(found) / 800**0.5)
    same = {"w": torch.from_numpy(np.stack([truth] * 3))}
    assert norm_squared(same) == pytest.approx(float((truth**2).sum()))


def test_finished_tensors_are_read_back_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "group.safetensors"
    made: Direction = {"w": torch.arange(6.0).view(2, 3).T}

    def never() -> Any:
        raise AssertionError("made again")

    torch.testing.assert_close(kept_tensors(path, lambda: made), made)
    torch.testing.assert_close(kept_tensors(path, never), made)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"group\.safetensors is corrupted .* delete it and run the same command again"):
        kept_tensors(path, never)
