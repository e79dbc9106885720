"""What the tests of the engines share."""

from typing import Any

from paced_exp.data.prompts import prompt_ids
from paced_exp.rollouts.engine import Prompt, Rollout, Sampling


def by_key(engine: Any, prompts: list[Prompt], *, samples: int, watch: Any = None, **arguments: Any) -> dict[tuple[str, int], Rollout]:
    """The engine's rollouts by problem and sample: every one, once."""
    found = [rollout for group in engine.generate(prompts, Sampling(samples, **arguments), watch=watch) for rollout in group]
    keyed = {(rollout.problem_id, rollout.sample): rollout for rollout in found}
    assert len(keyed) == len(found) == len(prompts) * samples
    return keyed


def prompts_of(problems: Any, student: Any) -> list[Prompt]:
    return [Prompt(problem.id, prompt_ids(student.tokenizer, problem)) for problem in problems]


def run(engine: Any, prompts: list[Prompt], **options: Any) -> dict[tuple[str, int], Rollout]:
    return by_key(engine, prompts, **{"samples": 1, "max_new_tokens": 128, "temperature": 1.0, "seed": 0, **options})
