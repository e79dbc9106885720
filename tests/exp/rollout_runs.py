"""What the tests of the engines share."""

from typing import Any

from paced_exp.rollouts.engine import Prompt, Rollout, Sampling


def by_key(engine: Any, prompts: list[Prompt], *, samples: int, **arguments: Any) -> dict[tuple[str, int], Rollout]:
    """The engine's rollouts by problem and sample: every one, once."""
    found = [rollout for group in engine.generate(prompts, Sampling(samples, **arguments)) for rollout in group]
    keyed = {(rollout.problem_id, rollout.sample): rollout for rollout in found}
    assert len(keyed) == len(found) == len(prompts) * samples
    return keyed
