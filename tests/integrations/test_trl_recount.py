"""Counting pass rates again during a TRL training: when, by which student, what becomes of the weights."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.stats import binomtest
from torch.nn.functional import cross_entropy
from trl import DistillationConfig, SFTConfig

from paced_exp.core.errors import UserError
from paced_exp.data.problem_tables import Counts, read_counts
from paced_exp.integrations.trl import CountAgain, PacedDistillationTrainer, PacedSFTTrainer
from paced_exp.weighting import weights as weights_of
from tests.support.tiny_models import tiny_model, tiny_tokenizer
from tests.support.trl_setup import PROMPTS, WEIGHTS, chats, flat_gradient, models, options, rows, run, token_divergences

with warnings.catch_warnings(action="ignore"):  # that GKD is experimental
    from trl.experimental.gkd import GKDConfig

    from paced_exp.integrations.trl import PacedGKDTrainer

FIRST = "0123456789+-=>. "  # a response that begins with one of these passes


def begins_well(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    assert len(prompts) == len(completions) == len(columns["problem_id"])
    return [float(completion[:1] in FIRST and completion[:1] != "") for completion in completions]


def exact_rate(prompt: str) -> float:
    """The chance that the student's first token is one of those, by its own distribution."""
    tokenizer, student = tiny_tokenizer(), tiny_model("qwen3", seed=0, context=160)
    with torch.no_grad():
        first = student(torch.tensor([tokenizer(prompt)["input_ids"]])).logits[0, -1].softmax(-1)
    return float(first[[tokenizer.convert_tokens_to_ids(letter) for letter in FIRST]].sum())


def distillation(folder: Path, **changes: Any) -> PacedDistillationTrainer:
    config = options(folder, DistillationConfig, max_completion_length=4, **{"per_device_train_batch_size": 4, **changes})
    return PacedDistillationTrainer(args=config, train_dataset=rows(WEIGHTS), **models())


SEQUENCES = [[20 + i, 6, 7, *range(8, 9 + i)] for i in range(8)]  # the first token tells the row


class Read(PacedSFTTrainer):
    """Keeps the rows of each update, as the model reads them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.read: list[list[int]] = []
        super().__init__(*args, **kwargs)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        self.read.append((inputs["input_ids"][:, 0] - 20).tolist())
        return super().compute_loss(model, inputs, *args, **kwargs)


def sft(folder: Path, stream: bool = False, **changes: Any) -> Read:
    own = models()
    del own["teacher_model"]
    data = Dataset.from_list(
        [
            {"input_ids": ids, "labels": [-100, *ids[1:]], "weight": weight, "problem_id": f"sum{i}"}
            for i, (ids, weight) in enumerate(zip(SEQUENCES, WEIGHTS, strict=True))
        ]
    )
    return Read(args=options(folder, SFTConfig, **changes), train_dataset=data.to_iterable_dataset() if stream else data, **own)


def gkd(folder: Path, **changes: Any) -> PacedGKDTrainer:
    sizes = {"per_device_train_batch_size": 8, "lmbda": 0.0, "beta": 0.0, "max_length": 64}
    data = Dataset.from_dict({"problem_id": [f"sum{i}" for i in range(8)], "messages": chats(), "weight": WEIGHTS})
    return PacedGKDTrainer(args=options(folder, GKDConfig, **{**sizes, **changes}), train_dataset=data, **models())


@pytest.mark.parametrize("trainer", [distillation, gkd, sft])
def test_the_counts_are_binomial_with_the_student_s_own_rate(trainer: Any, tmp_path: Path) -> None:
    limit = {} if trainer is distillation else {"max_new_tokens": 4}
    again = CountAgain(trainer(tmp_path), rows(WEIGHTS), begins_well, every=1, K=60, **limit)
    counts = again.count()
    assert counts.problem_id == [f"sum{i}" for i in range(8)] and set(counts.K) == {60}
    for prompt, k in zip(PROMPTS, counts.k.tolist(), strict=True):
        assert binomtest(k, 60, exact_rate(prompt)).pvalue > 1e-3, prompt
    assert counts.k.tolist() == again.count().k.tolist() != again.count(seed=1).k.tolist()


@pytest.mark.parametrize("trainer", [distillation, sft])
def test_conversations_are_counted_as_the_template_lays_them_out(trainer: Any, tmp_path: Path) -> None:
    talks = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    seen: list[str] = []

    def passes(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
        assert all(message["role"] == "assistant" for (message,) in completions)
        seen.extend(messages[0]["content"] for messages in prompts)
        return [float(message["content"][:1] in FIRST and message["content"] != "") for (message,) in completions]

    limit = {} if trainer is distillation else {"max_new_tokens": 4}
    problems = Dataset.from_dict({"problem_id": [f"sum{i}" for i in range(8)], "prompt": talks})
    counts = CountAgain(trainer(tmp_path), problems, passes, every=1, K=40, **limit).count()
    assert sorted(seen) == sorted(PROMPTS * 40)
    for prompt, k in zip(PROMPTS, counts.k.tolist(), strict=True):
        assert binomtest(k, 40, exact_rate(prompt + ">")).pvalue > 1e-3, prompt  # the tiny template's > before the answer


def test_it_counts_every_n_steps_and_the_next_updates_have_the_new_weights(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []

    class Watched(PacedDistillationTrainer):
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            made = super()._generate_and_score_completions(inputs)
            seen.append(dict(zip([row["problem_id"] for row in inputs], made["paced_weight"].tolist(), strict=True)))
            return made

    config = options(tmp_path, DistillationConfig, max_completion_length=4, per_device_train_batch_size=4, max_steps=5, learning_rate=0.1)
    trainer = Watched(args=config, train_dataset=rows(WEIGHTS), **models())
    CountAgain(trainer, rows(WEIGHTS), begins_well, every=2, K=16)
    run(trainer)
    assert sorted(path.name for path in (tmp_path / "pass_rates").iterdir()) == ["step-000002.jsonl", "step-000004.jsonl"]
    given = dict(zip([f"sum{i}" for i in range(8)], WEIGHTS, strict=True))
    later = []
    for step in (2, 4):
        counts = read_counts(tmp_path / "pass_rates" / f"step-{step:06d}.jsonl")
        made = weights_of(counts.k, counts.K)
        assert made.values.mean() == pytest.approx(1)
        later.append(dict(zip(counts.problem_id, made.values.tolist(), strict=True)))
    for update, expected in zip(seen, [given, given, later[0], later[0], later[1]], strict=True):
        assert update == pytest.approx({name: expected[name] for name in update})


def row_gradients() -> torch.Tensor:
    """The gradient of each row's mean cross-entropy by the student as it starts, (8, parameters)."""
    found = []
    for ids in SEQUENCES:
        student = tiny_model("qwen3", seed=0, context=160).train()
        cross_entropy(student(torch.tensor([ids])).logits[0, :-1], torch.tensor(ids[1:])).backward()
        found.append(flat_gradient(student))
    return torch.stack(found)


def test_gkd_has_the_new_weights_in_the_next_update(tmp_path: Path) -> None:
    trainer = gkd(tmp_path, max_steps=2, learning_rate=0.0)
    CountAgain(trainer, rows(WEIGHTS), begins_well, every=1, K=8, estimator="posterior", max_new_tokens=4)
    read = [trainer.data_collator([row]) for row in trainer.train_dataset]
    found = run(trainer)
    counts = read_counts(tmp_path / "pass_rates" / "step-000001.jsonl")
    assert counts.problem_id == [f"sum{i}" for i in range(8)]
    for gradient, weights in zip(found, (WEIGHTS, weights_of(counts.k, counts.K, estimator="posterior").values.tolist()), strict=True):
        own = models()
        for batch, weight in zip(read, weights, strict=True):
            first = int((batch["labels"][0] != -100).int().argmax())
            ids = batch["input_ids"][0].tolist()
            (weight * token_divergences(own["model"], own["teacher_model"], ids, first, 0.0).mean() / 8).backward()
        wanted = flat_gradient(own["model"])
        assert float((gradient - wanted).norm() / wanted.norm()) < 1e-5


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_rows_that_were_read_ahead_have_the_new_weights_in_the_very_next_update(workers: int, stream: bool, tmp_path: Path) -> None:
    steps = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 4, "learning_rate": 0.0}
    trainer = sft(tmp_path, stream, dataloader_num_workers=workers, **steps)
    CountAgain(trainer, rows(WEIGHTS), begins_well, every=1, K=8, estimator="posterior", max_new_tokens=4)
    found = run(trainer)
    applied = [dict(zip((f"sum{i}" for i in range(8)), WEIGHTS, strict=True))]
    for step in (1, 2, 3):  # an epoch has two updates: within one, and between two
        counts = read_counts(tmp_path / "pass_rates" / f"step-{step:06d}.jsonl")
        applied.append(dict(zip(counts.problem_id, weights_of(counts.k, counts.K, estimator="posterior").values.tolist(), strict=True)))
    own = row_gradients()
    assert len(found) == 4 and len(trainer.read) == 8
    for step, gradient in enumerate(found):
        read = [row for part in trainer.read[2 * step : 2 * step + 2] for row in part]
        wanted = [sum(which[f"sum{row}"] * own[row] for row in read) / 4 for which in applied]
        off = [float((gradient - each).norm() / each.norm()) for each in wanted]  # type: ignore[union-attr]
        assert off[step] < 1e-5 and sorted(off)[1] > 1e-3, (step, off)


def test_a_loader_s_worker_is_sent_no_copy_of_the_trainer(tmp_path: Path) -> None:
    trainer = sft(tmp_path)
    assert not any(value is trainer for value in vars(trainer.data_collator).values())
    (row,) = trainer.data_collator([trainer.train_dataset[0]])["paced_rows"]
    assert row == {"problem_id": "sum0", "weight": 0.5}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_training_ends_where_one_without_a_break_does(workers: int, tmp_path: Path) -> None:
    def train(folder: Path, steps: int, resume: str | None = None) -> Read:
        sizes = {"per_device_train_batch_size": 2, "max_steps": steps, "learning_rate": 0.1, "dataloader_num_workers": workers}
        trainer = sft(folder, save_strategy="steps", save_steps=2, **sizes)
        CountAgain(trainer, rows(WEIGHTS), begins_well, every=2, K=8, estimator="posterior", max_new_tokens=4)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = train(tmp_path / "whole", 6)
    train(tmp_path / "broken", 3)  # counted and saved after update 2, while the rows of update 3 were read already
    resumed = train(tmp_path / "broken", 6, str(tmp_path / "broken" / "checkpoint-2"))
    assert resumed.read == whole.read[2:] and resumed.counted_again == whole.counted_again
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


PASSES = [0, 2, 5, 8, 3, 0, 8, 4]  # of 8: by the plug-in four of the eight problems are dropped at the start


def counted_from(folder: Path, estimator: Any = "plugin") -> tuple[Any, CountAgain]:
    """A training by the weights of `PASSES`, and its recount with the same kernel."""
    config = options(folder, DistillationConfig, max_completion_length=4, per_device_train_batch_size=4)
    trainer = PacedDistillationTrainer(args=config, train_dataset=rows(None, k=PASSES, K=[8] * 8), estimator=estimator, **models())
    return trainer, CountAgain(trainer, rows(WEIGHTS), begins_well, every=1, estimator=estimator)


def counts(passes: dict[str, int]) -> Counts:
    return Counts(list(passes), np.array([*passes.values()]), np.full(len(passes), 8))


SAME = {f"sum{i}": k for i, k in enumerate(PASSES)}


# Without some problems empirical Bayes has another prior, and so other weights.
@pytest.mark.parametrize(("estimator", "left_out"), [("plugin", ()), ("plugin", ("sum2", "sum3")), ("empirical_bayes", ())])
def test_the_same_counts_give_the_same_weights(estimator: str, left_out: tuple[str, ...], tmp_path: Path) -> None:
    trainer, again = counted_from(tmp_path, estimator)
    again._weigh(counts({name: k for name, k in SAME.items() if name not in left_out}))
    before = [row["weight"] for row in trainer.train_dataset]
    assert [trainer.weight_of(row) for row in trainer.train_dataset] == pytest.approx(before, rel=1e-12)
    assert len(before) == (4 if estimator == "plugin" else 8)


def test_new_counts_leave_the_mean_over_the_rows_that_are_trained_on(tmp_path: Path) -> None:
    trainer, again = counted_from(tmp_path)
    assert list(trainer.train_dataset["problem_id"]) == ["sum1", "sum2", "sum4", "sum7"]
    # sum0, which is not trained on, has the largest weight now; sum1 has fallen to zero and stays in the data.
    again._weigh(counts({**SAME, "sum0": 4, "sum1": 8, "sum2": 6}))
    found = [trainer.weight_of(row) for row in trainer.train_dataset]
    raw = np.array([0, 6 * 2, 3 * 5, 4 * 4])
    assert found == pytest.approx(raw / raw.mean(), rel=1e-12)
    with pytest.raises(UserError, match="`estimator` plugin gives all 4 problems that are trained on weight zero by the new counts"):
        again._weigh(counts({**dict.fromkeys(SAME, 8), "sum0": 4}))


def test_a_problem_of_several_rows_counts_as_often_in_the_mean(tmp_path: Path) -> None:
    config = options(tmp_path, DistillationConfig, max_completion_length=4, per_device_train_batch_size=1)
    data = Dataset.from_dict({"problem_id": ["a", "a", "a", "b"], "prompt": PROMPTS[:4], "weight": [1.0] * 4})
    trainer = PacedDistillationTrainer(args=config, train_dataset=data, **models())
    CountAgain(trainer, data, begins_well, every=1)._weigh(counts({"a": 2, "b": 4}))
    found = [trainer.weight_of(row) for row in trainer.train_dataset]
    assert found == pytest.approx(np.array([12, 12, 12, 16]) / 13, rel=1e-12)


def test_counts_of_no_row_leave_the_rows_their_own_weights(tmp_path: Path) -> None:
    trainer, again = counted_from(tmp_path)
    before = list(trainer.train_dataset["weight"])
    for none in ({}, {"other": 4}):
        again._weigh(counts(none))
        assert [trainer.weight_of(row) for row in trainer.train_dataset] == before


def test_counting_leaves_the_training_s_draws_as_they_were(tmp_path: Path) -> None:
    def ids(count: bool) -> list[Any]:
        trainer = distillation(tmp_path / str(count), max_steps=4, learning_rate=0.0)
        found: list[Any] = []
        compute = trainer._compute_loss
        trainer._compute_loss = lambda student, inputs, n: found.append(inputs["completion_ids"].tolist()) or compute(student, inputs, n)  # type: ignore[method-assign]
        if count:
            CountAgain(trainer, rows(WEIGHTS), begins_well, every=1, K=2)
        run(trainer)
        return found

    assert ids(True) == ids(False)


def test_a_resumed_training_has_the_weights_of_the_last_count(tmp_path: Path) -> None:
    trainer = distillation(tmp_path, max_steps=3, learning_rate=0.1, save_strategy="steps", save_steps=3)
    CountAgain(trainer, rows(WEIGHTS), begins_well, every=2, K=16)
    run(trainer)
    resumed = distillation(tmp_path, max_steps=4, learning_rate=0.1)
    CountAgain(resumed, rows(WEIGHTS), begins_well, every=2, K=16)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert resumed.counted_again == pytest.approx(dict(trainer.counted_again)) and len(resumed.counted_again) == 8


def test_an_ungraded_rollout_is_left_out_and_a_problem_without_any_keeps_its_weight(tmp_path: Path) -> None:
    def sometimes(prompts: list[str], completions: list[str], **columns: Any) -> list[float | None]:
        return [
            None if name == "sum3" else float(len(completion) > 1)
            for name, completion in zip(columns["problem_id"], completions, strict=True)
        ]

    trainer = distillation(tmp_path, max_steps=2, learning_rate=0.1)
    again = CountAgain(trainer, rows(WEIGHTS), sometimes, every=1, K=4)
    assert again.count().problem_id == [f"sum{i}" for i in range(8) if i != 3]
    run(trainer)
    assert "sum3" not in trainer.counted_again and trainer.weight_of({"problem_id": "sum3", "weight": 0.25}) == 0.25


def test_what_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    trainer = distillation(tmp_path)
    with pytest.raises(UserError, match="`trainer` is a int, which has no weights"):
        CountAgain(3, rows(WEIGHTS), begins_well, every=1)
    with pytest.raises(UserError, match="`problem_id` is no column of problems"):
        CountAgain(trainer, rows(WEIGHTS).remove_columns("problem_id"), begins_well, every=1)
    with pytest.raises(UserError, match="`every` 0, `K` 8 and `batch` 32 must be at least 1"):
        CountAgain(trainer, rows(WEIGHTS), begins_well, every=0)
    with pytest.raises(UserError, match="`max_new_tokens` must be given"):
        CountAgain(sft(tmp_path), rows(WEIGHTS), begins_well, every=1)
