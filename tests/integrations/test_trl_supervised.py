"""PACED on TRL's SFT and GKD trainers against a loop over problems with whole logits."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import SFTConfig

from paced_exp.core.errors import UserError
from paced_exp.integrations.trl import PacedSFTTrainer
from tests.support.trl_setup import WEIGHTS, flat_gradient, models, options, run, token_divergences

with warnings.catch_warnings(action="ignore"):  # that GKD is experimental
    from trl.experimental.gkd import GKDConfig

    from paced_exp.integrations.trl import PacedGKDTrainer

PROMPT = 3
SEQUENCES = [[20 + i, 6, 7, *range(8, 9 + i)] for i in range(8)]  # responses of 1 to 8 tokens


def sft_rows(weights: list[float]) -> Dataset:
    """Tokens, with the prompt's masked."""
    return Dataset.from_list(
        [
            {"input_ids": ids, "labels": [-100] * PROMPT + ids[PROMPT:], "weight": weight}
            for ids, weight in zip(SEQUENCES, weights, strict=False)
        ]
    )


def gkd_rows(weights: list[float]) -> Dataset:
    """Conversations whose texts are the same tokens under the tiny template, which is their contents and a > before the answer."""
    letters = models()["processing_class"]
    messages = []
    for ids in SEQUENCES:
        question, answer = letters.decode(ids[: PROMPT - 1]), letters.decode(ids[PROMPT - 1 :])
        messages.append([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])
    return Dataset.from_dict({"messages": messages[: len(weights)], "weight": weights})


def sft(folder: Path, weights: list[float], **changes: Any) -> PacedSFTTrainer:
    own = models()
    del own["teacher_model"]
    config = options(folder, SFTConfig, **{"per_device_train_batch_size": 8, **changes})
    return PacedSFTTrainer(args=config, train_dataset=sft_rows(weights), **own)


def gkd(folder: Path, weights: list[float], divergence: Any = None, **changes: Any) -> PacedGKDTrainer:
    config = options(folder, GKDConfig, **{"per_device_train_batch_size": 8, "lmbda": 0.0, "beta": 0.5, "max_length": 64, **changes})
    return PacedGKDTrainer(args=config, train_dataset=gkd_rows(weights), divergence=divergence, **models())


def dense(loss_of: Any, pairs: list[tuple[list[int], float]]) -> torch.Tensor:
    """The gradient of sum_i w_i l_i / n in double precision."""
    own = models()
    student, teacher = own["model"].double().train(), own["teacher_model"].double()
    loss = sum(weight * loss_of(student, teacher, ids) for ids, weight in pairs) / len(pairs)
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    return flat_gradient(student)


def cross_entropy(student: Any, teacher: Any, ids: list[int]) -> torch.Tensor:
    log_p = student(torch.tensor([ids])).logits[0, PROMPT - 1 : -1].log_softmax(-1)
    return -torch.stack([log_p[place, token] for place, token in enumerate(ids[PROMPT:])]).mean()


def jsd(student: Any, teacher: Any, ids: list[int]) -> torch.Tensor:
    return token_divergences(student, teacher, ids, PROMPT, 0.5).mean()


def off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_sft_gradient_is_the_dense_one(accumulation: int, tmp_path: Path) -> None:
    sizes = {"per_device_train_batch_size": 8 // accumulation, "gradient_accumulation_steps": accumulation}
    (found,) = run(sft(tmp_path, WEIGHTS, **sizes))
    wanted = dense(cross_entropy, list(zip(SEQUENCES, WEIGHTS, strict=True)))
    assert off(found, wanted) < 2e-6 and off(found, dense(cross_entropy, [(ids, 1.0) for ids in SEQUENCES])) > 0.01


def adaptive_kl(student: Any, teacher: Any, ids: list[int], prompt: int) -> torch.Tensor:
    """AKL at each token after the prompt, a token at a time, as the paper's algorithm has it."""
    whole, values = torch.tensor([ids]), []
    for log_s, log_t in zip(student(whole).logits[0, prompt - 1 : -1], teacher(whole).logits[0, prompt - 1 : -1], strict=True):
        log_s, log_t = log_s.log_softmax(-1), log_t.log_softmax(-1).detach()
        s, t = log_s.exp(), log_t.exp()
        order = sorted(range(len(t)), key=lambda token: -float(t[token]))
        head, held = [order[0]], float(t[order[0]])
        for token in order[1:]:
            held += float(t[token])
            if held > 0.5:
                break
            head.append(token)
        gap = (s - t).abs().detach()
        share = float(gap[head].sum() / gap.sum())
        values.append(share * (t * (log_t - log_s)).sum() + (1 - share) * (s * (log_s - log_t)).sum())
    return torch.stack(values)


def jsd_half(student: Any, teacher: Any, ids: list[int], prompt: int) -> torch.Tensor:
    return token_divergences(student, teacher, ids, prompt, 0.5)


def forward_kl(student: Any, teacher: Any, ids: list[int], prompt: int) -> torch.Tensor:
    return token_divergences(student, teacher, ids, prompt, 0.0)


@pytest.mark.parametrize(
    ("divergence", "beta", "oracle"), [(None, 0.0, forward_kl), (None, 0.5, jsd_half), ("jsd", 0.5, jsd_half), ("akl", 0.5, adaptive_kl)]
)
@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_gkd_gradient_is_the_dense_one(accumulation: int, divergence: str | None, beta: float, oracle: Any, tmp_path: Path) -> None:
    sizes = {"per_device_train_batch_size": 8 // accumulation, "gradient_accumulation_steps": accumulation, "beta": beta}
    trainer = gkd(tmp_path, WEIGHTS, divergence, **sizes)
    read = [trainer.data_collator([row]) for row in trainer.train_dataset]
    sequences = [batch["input_ids"][0].tolist() for batch in read]
    first = [int((batch["labels"][0] != -100).int().argmax()) for batch in read]  # the template's > is one more token
    assert len(set(map(len, sequences))) == 8

    def loss_of(student: Any, teacher: Any, ids: list[int]) -> torch.Tensor:
        mean: torch.Tensor = oracle(student, teacher, ids, first[sequences.index(ids)]).mean()
        return mean

    (found,) = run(trainer)
    assert off(found, dense(loss_of, list(zip(sequences, WEIGHTS, strict=True)))) < 2e-6
    assert off(found, dense(loss_of, [(ids, 1.0) for ids in sequences])) > 0.01


def test_an_unknown_divergence_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`divergence` adaptive is not known; known: forward_kl, reverse_kl, cross_entropy, jsd, akl"):
        gkd(tmp_path, WEIGHTS, "adaptive")


def test_the_student_s_own_responses_are_weighted_too(tmp_path: Path) -> None:
    trainer = gkd(tmp_path, WEIGHTS, lmbda=1.0, max_new_tokens=8, temperature=0.9)
    seen: dict[str, Any] = {}
    trainer.model.register_forward_pre_hook(lambda module, arguments, options: seen.update(options), with_kwargs=True)
    (found,) = run(trainer)
    generated = seen["input_ids"], seen["attention_mask"]  # the last forward pass, of the loss
    prompt = generated[0].shape[1] - 8
    pairs = []
    for ids, mask in zip(*generated, strict=True):
        own = ids[mask.bool()].tolist()
        pairs.append((own, int(mask[:prompt].sum())))
    own = models()
    student, teacher = own["model"].double().train(), own["teacher_model"].double()
    order = {tuple(ids[:start]): weight for (ids, start), weight in zip(pairs, _weights(trainer, pairs), strict=True)}
    loss = sum(order[tuple(ids[:start])] * token_divergences(student, teacher, ids, start, 0.5).mean() for ids, start in pairs) / 8
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    assert off(found, flat_gradient(student)) < 2e-6


def _weights(trainer: Any, pairs: list[tuple[list[int], int]]) -> list[float]:
    """Of each prompt, by its tokens."""
    of = {}
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        of[tuple(batch["prompts"][0].tolist())] = row["weight"]
    assert len(of) == len(pairs)  # no prompt twice
    return [of[tuple(ids[:start])] for ids, start in pairs]


def test_a_last_and_smaller_update_is_divided_by_its_own_problems(tmp_path: Path) -> None:
    trainer = sft(tmp_path, WEIGHTS, per_device_train_batch_size=3, gradient_accumulation_steps=2, max_steps=2, learning_rate=0.0)
    rows: list[list[tuple[list[int], float]]] = [[]]
    collate = trainer.data_collator

    def watched(batch: list[dict[str, Any]]) -> Any:
        if len(rows[-1]) == 6:
            rows.append([])
        rows[-1] += [(row["input_ids"], row["weight"]) for row in batch]
        return collate(batch)

    trainer.data_collator = watched
    found = run(trainer)
    assert [len(part) for part in rows] == [6, 2]
    for gradient, part in zip(found, rows, strict=True):
        assert off(gradient, dense(cross_entropy, part)) < 2e-6


def test_evaluation_takes_no_weights(tmp_path: Path) -> None:
    trainer = sft(tmp_path, WEIGHTS, eval_strategy="no")
    found = trainer.evaluate(sft_rows(WEIGHTS))["eval_loss"]
    own = models()
    losses = [cross_entropy(own["model"], None, ids).item() for ids in SEQUENCES]
    assert found == pytest.approx(sum(losses) / 8, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"packing": True}, "`packing` and `padding_free` put several problems into one row"),
        ({"loss_type": "dft"}, "`loss_type` dft and `label_smoothing_factor` 0.0 have no weighted form"),
        ({"label_smoothing_factor": 0.1}, "`loss_type` nll and `label_smoothing_factor` 0.1 have no weighted form"),
    ],
)
def test_what_has_no_weighted_form_is_refused(changes: dict[str, Any], line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=line):
        sft(tmp_path, WEIGHTS, **changes)


@pytest.mark.parametrize("kind", ["distillation", "gkd", "sft"])
def test_two_processes_make_the_update_of_one(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.support.trl_two_processes", kind, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0]["gradient"] == ranks[1]["gradient"]
    assert ranks[0]["problems"] and ranks[1]["problems"] and not set(ranks[0]["problems"]) & set(ranks[1]["problems"])
    own = models()
    student, teacher = own["model"].double().train(), own["teacher_model"].double()
    parts = [part for rank in ranks for part in rank["seen"]]
    assert sorted(weight for *_, weight in parts) == sorted(WEIGHTS)
    losses = [
        weight
        * (
            cross_entropy(student, None, ids)
            if kind == "sft"
            else token_divergences(student, teacher, ids, prompt, 1.0 if kind == "distillation" else 0.0).mean()
        )
        for ids, prompt, weight in parts
    ]
    (sum(losses) / 8).backward()  # type: ignore[union-attr]
    # On the distillation's responses single precision costs the dense loss itself up to 2.7e-6, by the number of threads.
    assert off(torch.tensor(ranks[0]["gradient"]), flat_gradient(student)) < 4e-6
