"""PACED on TRL's DistillationTrainer against a loop over problems with whole logits."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import DistillationConfig

from paced_exp.core.errors import UserError
from paced_exp.integrations.trl import PacedDistillationTrainer
from paced_exp.weighting import weights as weights_of
from tests.support.trl_setup import PROMPTS, WEIGHTS, flat_gradient, models, options, rows, run, token_divergences


class Watched(PacedDistillationTrainer):
    """Keeps each response that it trained on, with its weight."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[tuple[list[int], int, float]] = []
        self.gradients: list[torch.Tensor] = []
        super().__init__(*args, **kwargs)

    def _compute_loss(self, unwrapped_student: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
        for row in range(len(inputs["prompt_ids"])):
            prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()].tolist()
            response = inputs["completion_ids"][row][inputs["completion_mask"][row].bool()].tolist()
            self.seen.append((prompt + response, len(prompt), float(inputs["paced_weight"][row])))
        return super()._compute_loss(unwrapped_student, inputs, num_items_in_batch)

    @property
    def loss(self) -> float:
        """Of the one update."""
        return next(float(entry["train_loss"]) for entry in self.state.log_history if "train_loss" in entry)


def trained(folder: Path, dataset: Any = None, config: dict[str, Any] | None = None, **changes: Any) -> Watched:
    own = options(folder, DistillationConfig, max_completion_length=10, **{"per_device_train_batch_size": 8, **(config or {})})
    trainer = Watched(args=own, train_dataset=rows(WEIGHTS) if dataset is None else dataset, **models(), **changes)
    trainer.gradients = run(trainer)
    return trainer


def dense(seen: list[tuple[list[int], int, float]], beta: float, problems: int) -> tuple[torch.Tensor, torch.Tensor]:
    """sum_i w_i l_i / n of these responses under the models as they start, and its gradient, in double precision."""
    own = models()
    student, teacher = own["model"].double().train(), own["teacher_model"].double()
    loss = sum(weight * token_divergences(student, teacher, ids, prompt, beta).mean() for ids, prompt, weight in seen) / problems
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    return loss.detach(), flat_gradient(student)


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_loss_and_gradient_are_the_dense_ones(beta: float, accumulation: int, tmp_path: Path) -> None:
    sizes = {"per_device_train_batch_size": 8 // accumulation, "gradient_accumulation_steps": accumulation, "beta": beta}
    trainer = trained(tmp_path, config=sizes)
    assert sorted(weight for *_, weight in trainer.seen) == sorted(WEIGHTS)
    by_prompt = dict(zip(PROMPTS, WEIGHTS, strict=True))
    for ids, prompt, weight in trainer.seen:  # each response has its own problem's weight, through TRL's shuffle and split
        assert weight == by_prompt[trainer.processing_class.decode(ids[:prompt])]
    assert len({len(ids) - prompt for ids, prompt, _ in trainer.seen}) > 1  # else tokens and problems could not be told apart
    loss, gradient = dense(trainer.seen, beta, 8)
    assert trainer.loss == pytest.approx(float(loss), abs=5e-7)
    (found,) = trainer.gradients
    # Single precision costs this much: the dense loss, computed in it, is off by 8e-7 of the norm itself.
    assert float((found - gradient).norm() / gradient.norm()) < 2e-6
    unweighted = dense([(ids, prompt, 1.0) for ids, prompt, _ in trainer.seen], beta, 8)[1]
    assert float((found - unweighted).norm() / gradient.norm()) > 0.01


def test_gradient_checkpointing_changes_nothing(tmp_path: Path) -> None:
    """TRL's default, which the other tests leave out to be quick."""
    trainer = trained(tmp_path, config={"gradient_checkpointing": True, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4})
    assert trainer.model.is_gradient_checkpointing
    (found,), (_, gradient) = trainer.gradients, dense(trainer.seen, 1.0, 8)
    assert float((found - gradient).norm() / gradient.norm()) < 2e-6


def test_a_teacher_that_is_the_student_itself_gives_no_loss_and_no_gradient(tmp_path: Path) -> None:
    own = models()
    own["teacher_model"] = own["model"]
    config = options(tmp_path, DistillationConfig, max_completion_length=10, per_device_train_batch_size=8)
    trainer = Watched(args=config, train_dataset=rows(WEIGHTS), **own)
    (found,) = run(trainer)
    assert trainer.loss == pytest.approx(0, abs=1e-6) and float(found.norm()) < 1e-5


def test_weights_come_from_counts_by_kernel_and_estimator(tmp_path: Path) -> None:
    k, K = [0, 1, 2, 3, 4, 5, 7, 8], [8] * 8
    trainer = trained(tmp_path, rows(k=k, K=K), estimator="empirical_bayes")
    assert trainer.train_dataset["weight"] == pytest.approx(weights_of(k, K, estimator="empirical_bayes").in_training, rel=1e-9)
    dropped = trained(tmp_path, rows(k=k, K=K), config={"per_device_train_batch_size": 6})  # the plug-in
    assert dropped.train_dataset["problem_id"] == [f"sum{i}" for i in range(1, 7)]
    wanted = weights_of(k, K, estimator="plugin").in_training[1:7]
    assert sorted(weight for *_, weight in dropped.seen) == pytest.approx(sorted(wanted))


def test_weights_given_by_problem_are_joined_and_zero_ones_dropped(tmp_path: Path) -> None:
    of = {f"sum{i}": weight for i, weight in enumerate([0.0, 3.0, 1.0, 2.0])}
    trainer = trained(tmp_path, rows(answer=["a"] * 4), config={"per_device_train_batch_size": 3}, weights=dict(reversed(of.items())))
    assert trainer.train_dataset["problem_id"] == ["sum1", "sum2", "sum3"]
    assert trainer.train_dataset["weight"] == pytest.approx([1.5, 0.5, 1.0])
    loss, _ = dense(trainer.seen, 1.0, 3)
    assert trainer.loss == pytest.approx(float(loss), abs=5e-7)


def test_evaluation_takes_no_weights(tmp_path: Path) -> None:
    trainer = trained(tmp_path, config={"max_steps": 1})
    trainer.seen.clear()
    start = copy.deepcopy(trainer.model)
    found = trainer.evaluate(rows([5.0, 0.0, 1.0]))["eval_loss"]
    assert [weight for *_, weight in trainer.seen] == [1.0] * 3
    divergences = [token_divergences(start, models()["teacher_model"], ids, prompt, 1.0).mean().item() for ids, prompt, _ in trainer.seen]
    assert found == pytest.approx(sum(divergences) / 3, rel=1e-5)


@pytest.mark.parametrize(
    ("dataset", "changes", "line"),
    [
        (rows(answer=["a"]), {}, "the rows have no column `weight`, nor `k` and `K`, and no `weights` are given"),
        (rows([1.0, -1.0]), {}, "`weight` -1.0 of row 1 must be a finite number of at least 0"),
        (rows([0.0, 0.0]), {}, "all 2 rows have weight zero"),
        (rows(answer=["a", "b"]), {"weights": {"sum0": 1.0}}, "`weights` has none for 1 of 2 rows, problem_id 'sum1' first"),
        (rows(answer=["a"]).remove_columns("problem_id"), {"weights": {"sum0": 1.0}}, "the rows have no column `problem_id`"),
    ],
)
def test_what_cannot_be_weighted_is_refused(dataset: Any, changes: dict[str, Any], line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=line):
        PacedDistillationTrainer(args=options(tmp_path, DistillationConfig), train_dataset=dataset, **models(), **changes)
