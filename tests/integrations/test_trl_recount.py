"""Counting pass rates again during a TRL training: when, by which student, what becomes of the weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from scipy.stats import binomtest
from trl import DistillationConfig, SFTConfig

from paced_exp.core.errors import UserError
from paced_exp.data.problem_tables import read_counts
from paced_exp.integrations.trl import CountAgain, PacedDistillationTrainer, PacedSFTTrainer
from paced_exp.weighting import weights as weights_of
from tests.support.tiny_models import tiny_model, tiny_tokenizer
from tests.support.trl_setup import PROMPTS, WEIGHTS, models, options, rows, run

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


def sft(folder: Path) -> PacedSFTTrainer:
    own = models()
    del own["teacher_model"]
    data = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "weight": 1.0, "problem_id": f"sum{i}"} for i in range(8)]
    return PacedSFTTrainer(args=options(folder, SFTConfig), train_dataset=Dataset.from_list(data), **own)


@pytest.mark.parametrize("trainer", [distillation, sft])
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
