"""Rollouts of a list of problems: they are generated, graded and stored problem by problem. Stored problems are not rolled out again."""

from collections.abc import Iterator, Sequence
from typing import Any

from paced_exp.data.problem import Problem
from paced_exp.data.prompts import PromptKind, prompt_ids
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Prompt, Rollout, RolloutEngine, Sampling, Watch
from paced_exp.rollouts.store import ChunkStore


def collect(
    problems: Sequence[Problem],
    model: LoadedModel,
    engine: RolloutEngine,
    grader: Grader,
    store: ChunkStore,
    sampling: Sampling,
    *,
    kind: PromptKind = "plain",
    watch: Watch | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """Roll out every problem that `store` lacks; yields a problem's rows (see `graded_rollouts`) once they are stored.

    Raises `UserError` at once for an invalid request and for a stored problem without exactly K rollouts; later, as the grader and the store
    do.
    """
    done = store.done_ids()
    store.check_samples([problem.id for problem in problems if problem.id in done], sampling.samples, first=sampling.first)
    made = graded_rollouts(
        [problem for problem in problems if problem.id not in done], model, engine, grader, sampling, kind=kind, watch=watch
    )
    return _stored(made, store)


def _stored(made: Iterator[list[dict[str, Any]]], store: ChunkStore) -> Iterator[list[dict[str, Any]]]:
    for rows in made:
        store.append(rows)
        yield rows


def graded_rollouts(
    problems: Sequence[Problem],
    model: LoadedModel,
    engine: RolloutEngine,
    grader: Grader,
    sampling: Sampling,
    *,
    kind: PromptKind = "plain",
    watch: Watch | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """Roll out each problem K times from its prompt of `kind` and grade the responses; yields a problem's rows as it finishes.

    A row has problem_id, sample, seed, token_ids, finished, response (the text without special tokens) and correct. A rollout that was cut
    at max_new_tokens is never correct: a pass rate depends on the limit. Nothing is generated before the first rows are asked for. watch: see
    `RolloutEngine.generate`. Raises `UserError` at once for an invalid request.
    """
    by_id = {problem.id: problem for problem in problems}
    prompts = [Prompt(problem.id, prompt_ids(model.tokenizer, problem, kind)) for problem in by_id.values()]
    return _graded(engine.generate(prompts, sampling, watch=watch), by_id, model, grader)


def _graded(
    generated: Iterator[list[Rollout]], problems: dict[str, Problem], model: LoadedModel, grader: Grader
) -> Iterator[list[dict[str, Any]]]:
    for group in generated:
        responses = [model.tokenizer.decode(rollout.token_ids, skip_special_tokens=True) for rollout in group]
        passed = grader.grade([problems[rollout.problem_id] for rollout in group], responses)
        yield [
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
