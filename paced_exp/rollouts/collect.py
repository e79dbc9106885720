"""Rollouts of a list of problems: generated, graded and stored problem by problem, continuing from what the store holds."""

from collections.abc import Iterator, Sequence
from typing import Any

from paced_exp.data.problem import Problem
from paced_exp.data.prompts import prompt_ids
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Prompt, Rollout, RolloutEngine, Watch
from paced_exp.rollouts.store import ChunkStore


def collect(
    problems: Sequence[Problem],
    model: LoadedModel,
    engine: RolloutEngine,
    grader: Grader,
    store: ChunkStore,
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    watch: Watch | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """Roll out every problem that `store` lacks, `samples` times each from its plain prompt; yields a problem's rows once stored.

    A row has problem_id, sample, seed, token_ids, finished, response (the text without special tokens) and correct. A rollout cut
    at max_new_tokens is not correct whatever it says: the limit is part of what a pass rate is a property of. Nothing is generated before
    the first rollouts are asked for. watch: is told of rollouts as they finish (`RolloutEngine.generate`). Raises `UserError`: at once for a
    request without sense and for a stored problem that has not `samples` rollouts, later as the grader and the store do.
    """
    done = store.done_ids()
    store.check_samples([problem.id for problem in problems if problem.id in done], samples)
    todo = {problem.id: problem for problem in problems if problem.id not in done}
    asked = [Prompt(problem.id, prompt_ids(model.tokenizer, problem)) for problem in todo.values()]
    generated = engine.generate(asked, samples=samples, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, watch=watch)
    return _graded_and_stored(generated, todo, model, grader, store)


def _graded_and_stored(
    generated: Iterator[list[Rollout]], problems: dict[str, Problem], model: LoadedModel, grader: Grader, store: ChunkStore
) -> Iterator[list[dict[str, Any]]]:
    for group in generated:
        responses = [model.tokenizer.decode(rollout.token_ids, skip_special_tokens=True) for rollout in group]
        passed = grader.grade([problems[rollout.problem_id] for rollout in group], responses)
        rows = [
            {
                "problem_id": rollout.problem_id,
                "sample": rollout.sample,
                "seed": rollout.seed,
                "token_ids": rollout.token_ids,
                "finished": rollout.finished,
                "response": response,
                "correct": rollout.finished and correct,
            }
            for rollout, response, correct in zip(group, responses, passed, strict=True)
        ]
        store.append(rows)
        yield rows
