"""The vllm engine against the hf engine, and against the model's exact distribution."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from paced_exp.grading.grader import Grader
from paced_exp.rollouts.engine import Prompt, Rollout
from paced_exp.rollouts.hf import HFEngine
from tests.support.rollout_runs import prompts_of, run

SAMPLES = 16
LEVEL = 1e-3


def passes(rollouts: dict[tuple[str, int], Rollout], problems: Any, student: Any) -> np.ndarray:
    """k of every problem."""
    by_id = {problem.id: problem for problem in problems}
    listed = list(rollouts.values())
    with Grader() as grader:
        texts = [student.tokenizer.decode(rollout.token_ids, skip_special_tokens=True) for rollout in listed]
        correct = grader.grade([by_id[rollout.problem_id] for rollout in listed], texts)
    counts = dict.fromkeys(by_id, 0)
    for rollout, passed in zip(listed, correct, strict=True):
        counts[rollout.problem_id] += rollout.finished and passed
    return np.array([counts[problem.id] for problem in problems])


def two_sample(first: np.ndarray, second: np.ndarray, K: int) -> tuple[float, float]:
    """p values of equal pass rates, problem by problem and on average, from K rollouts each.

    Given k1 + k2 = m, k1 is hypergeometric if both engines pass with one probability, whatever it is: the sum over problems of squared
    standardised deviations is compared with draws of it, the total deviation with a normal distribution.
    """
    total = first + second
    varied = (total > 0) & (total < 2 * K)
    first, total = first[varied], total[varied]
    null = stats.hypergeom(2 * K, total, K)
    variance = null.var()
    draws = np.random.default_rng(0).hypergeometric(total, 2 * K - total, K, size=(20_000, len(total)))
    observed = ((first - total / 2) ** 2 / variance).sum()
    by_problem = (1 + (((draws - total / 2) ** 2 / variance).sum(axis=1) >= observed).sum()) / (1 + len(draws))
    on_average = 2 * stats.norm.sf(abs((first - total / 2).sum()) / np.sqrt(variance.sum()))
    return float(by_problem), float(on_average)


def test_pass_rates_agree_within_binomial_error_and_the_test_sees_another_temperature(engine: Any, student: Any, problems: Any) -> None:
    prompts = prompts_of(problems, student)
    hf = passes(run(HFEngine(student), prompts, samples=SAMPLES), problems, student)
    vllm = passes(run(engine, prompts, samples=SAMPLES), problems, student)
    assert len(problems) == 200 and ((hf > 0) & (hf < SAMPLES)).sum() > 50  # pass rates that could differ
    assert min(two_sample(vllm, hf, SAMPLES)) > LEVEL
    colder = passes(run(engine, prompts, samples=SAMPLES, temperature=0.6), problems, student)
    assert min(two_sample(colder, hf, SAMPLES)) < LEVEL


def test_greedy_outputs_are_equal_token_by_token(engine: Any, student: Any, problems: Any) -> None:
    prompts = prompts_of(problems, student)
    hf, vllm = (run(each, prompts, temperature=0.0) for each in (HFEngine(student), engine))
    equal = [hf[key].token_ids == vllm[key].token_ids and hf[key].finished == vllm[key].finished for key in hf]
    assert len(equal) == 200 and np.mean(equal) >= 0.98
    assert len({tuple(rollout.token_ids) for rollout in vllm.values()}) > 100  # and they are not all the same answer


def test_greedy_gives_a_prompts_samples_one_response(engine: Any, student: Any, problems: Any) -> None:
    prompts = prompts_of(problems[:3], student)
    found = run(engine, prompts, samples=3, temperature=0.0)
    assert all(found[prompt.problem_id, 0].token_ids == found[prompt.problem_id, 2].token_ids for prompt in prompts)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_tokens_follow_the_models_distribution(engine: Any, student: Any, temperature: float) -> None:
    # Text that means nothing leaves the student unsure how to go on: of some, that on which it is least sure.
    found = []
    for tokens in np.random.default_rng(0).integers(4, 500, size=(20, 8)).tolist():
        with torch.no_grad():
            logits = student.model(torch.tensor([tokens])).logits[0, -1].double()
        found.append((torch.distributions.Categorical(logits=logits).entropy().item(), tokens, logits))
    _, ids, logits = max(found, key=lambda item: item[0])
    prompt = Prompt("p", ids)
    n = 4000
    tokens = [rollout.token_ids[0] for rollout in run(engine, [prompt], samples=n, max_new_tokens=1, temperature=temperature).values()]
    exact = torch.softmax(logits / temperature, dim=-1).numpy()
    counts = np.bincount(tokens, minlength=len(exact))
    likely = exact * n >= 5
    assert likely.sum() >= 10
    observed, expected = (np.append(values[likely], values[~likely].sum()) for values in (counts, exact * n))
    used = expected >= 5
    statistic = ((observed - expected)[used] ** 2 / expected[used]).sum()
    assert stats.chi2.sf(statistic, used.sum() - 1) > LEVEL


def test_a_rollout_does_not_depend_on_what_else_is_asked(engine: Any, student: Any, problems: Any) -> None:
    prompts = prompts_of(problems[:60], student)
    whole = run(engine, prompts, samples=4)
    part = run(engine, prompts[40:10:-1], samples=2)
    # A rollout's draws are its own; its logits differ in the last bits with the shape of the batch, which turns a token where two nearly tie.
    assert np.mean([rollout == whole[key] for key, rollout in part.items()]) >= 0.98
    other = run(engine, prompts[:20], samples=2, seed=1)
    assert np.mean([rollout.token_ids == whole[key].token_ids for key, rollout in other.items()]) < 0.9
    # Samples of a prompt and prompts differ in their draws.
    assert len({rollout.seed for rollout in whole.values()}) == len(whole)


def test_a_response_is_cut_at_the_limit_and_ends_with_the_end_token(engine: Any, student: Any, problems: Any) -> None:
    prompts = prompts_of(problems[:20], student)
    long, short = run(engine, prompts, temperature=0.0), run(engine, prompts, temperature=0.0, max_new_tokens=5)
    for key, rollout in short.items():
        assert rollout.token_ids == long[key].token_ids[:5] and rollout.finished == (rollout.token_ids[-1] in student.eos_ids)
        assert not set(rollout.token_ids[:-1]) & set(student.eos_ids)
    assert not all(rollout.finished for rollout in short.values())
