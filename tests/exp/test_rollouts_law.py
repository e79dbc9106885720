"""The law of the hf engine's outputs against transformers' own sampling, `model.generate`: first tokens, lengths and pass rates."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from paced_exp.data.sources import load_problems
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import LoadedModel, load_model
from paced_exp.rollouts.collect import graded_rollouts
from paced_exp.rollouts.engine import Prompt, Sampling
from paced_exp.rollouts.hf import HFEngine
from tests.support.rollout_runs import prompts_of, run
from tests.support.tiny_models import EOS, PAD, loaded, tiny_model


def sampled(model: LoadedModel, prompt: Prompt, count: int, max_new_tokens: int, seed: int) -> list[list[int]]:
    """`count` responses by transformers' generate, ended as the engine ends them."""
    ids = torch.tensor([prompt.token_ids] * count)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rows = model.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=max_new_tokens,
            eos_token_id=list(model.eos_ids),
            pad_token_id=model.pad_id,
        )
    return [list(_until_eos(row, model.eos_ids)) for row in rows[:, ids.shape[1] :].tolist()]


def _until_eos(row: list[int], eos: tuple[int, ...]) -> Iterator[int]:
    for token in row:
        yield token
        if token in eos:
            return


def same_law(first: list[Any], second: list[Any]) -> float:
    """p-value of the chi-squared test that two samples of categories have one law; categories seen less than ten times are pooled."""
    ours, theirs = Counter(first), Counter(second)
    names = [name for name, count in (ours + theirs).items() if count >= 10]
    table = np.array([[sample[name] for name in names] for sample in (ours, theirs)])
    rest = np.array([[len(first)], [len(second)]]) - table.sum(axis=1, keepdims=True)
    table = np.hstack([table, rest]) if rest.sum() >= 10 else table
    return float(stats.chi2_contingency(table).pvalue)


def test_the_test_sees_another_temperature() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(12))
    draws = [rng.choice(12, size=2000, p=q / q.sum()).tolist() for q in (p, p, p**1.25)]
    assert same_law(draws[0], draws[1]) > 1e-2 and same_law(draws[0], draws[2]) < 1e-3


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_tokens_and_lengths_are_those_of_transformers_generate(kind: str) -> None:
    model = loaded(tiny_model(kind), eos_ids=(EOS, 17, 29))
    assert model.pad_id == PAD
    prompts = [Prompt("short", [9, 4, 30]), Prompt("long", [5, 0, 1, 40, 12, 7, 7])]
    found = run(HFEngine(model), prompts, samples=2000, max_new_tokens=12)
    for prompt in prompts:
        ours = [found[prompt.problem_id, sample].token_ids for sample in range(2000)]
        theirs = sampled(model, prompt, 2000, 12, seed=1)
        assert same_law([ids[0] for ids in ours], [ids[0] for ids in theirs]) > 1e-3
        # Rows divide where rollouts part: also what follows the parting has the right law.
        assert same_law([tuple(ids[:3]) for ids in ours], [tuple(ids[:3]) for ids in theirs]) > 1e-3
        assert same_law([ids[-1] for ids in ours], [ids[-1] for ids in theirs]) > 1e-3
        assert same_law([len(ids) for ids in ours], [len(ids) for ids in theirs]) > 1e-3


@pytest.mark.slow
def test_pass_rates_of_the_labs_student_are_those_of_transformers_generate() -> None:
    """Two samples of 24 rollouts of each of 40 problems: the difference of passes, by problem, against its binomial variance."""
    model = load_model("lab:student", device="cpu")
    problems, K = load_problems("lab:mid", limit=40, seed=5), 24
    with Grader() as grader:
        rows = [row for group in graded_rollouts(problems, model, HFEngine(model), grader, Sampling(K, 96, 1.0, 11)) for row in group]
        ours = Counter(row["problem_id"] for row in rows if row["correct"])
        theirs, lengths = Counter[str](), []
        for number, (problem, prompt) in enumerate(zip(problems, prompts_of(problems, model), strict=True)):
            made = sampled(model, prompt, K, 96, seed=number)
            lengths += [len(ids) for ids in made]
            texts = [model.tokenizer.decode(ids, skip_special_tokens=True) for ids in made]
            correct = grader.grade([problem] * K, texts)
            theirs[problem.id] = sum(ids[-1] in model.eos_ids and good for ids, good in zip(made, correct, strict=True))
    k = np.array([(ours[problem.id], theirs[problem.id]) for problem in problems])
    pooled = k.sum(axis=1) / (2 * K)
    variance = 2 * K * pooled * (1 - pooled) * (2 * K / (2 * K - 1))
    assert 0.2 < pooled.mean() < 0.8
    assert abs((k[:, 0] - k[:, 1]).sum()) < 3.3 * np.sqrt(variance.sum())
    # Problem by problem, sum of squares over variances: chi-squared, with a problem that all or none solve telling nothing.
    telling = variance > 0
    assert telling.sum() > 20
    statistic = (((k[:, 0] - k[:, 1]) ** 2)[telling] / variance[telling]).sum()
    assert stats.chi2.sf(statistic, telling.sum()) > 1e-3
    assert same_law([len(row["token_ids"]) // 4 for row in rows], [length // 4 for length in lengths]) > 1e-3
