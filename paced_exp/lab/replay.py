"""The base's own samples on everyday prompts: trained on among the new texts, they keep what the model knew, and held-out ones measure what it lost."""

import random
from collections.abc import Sequence
from dataclasses import asdict

from paced_exp.core.progress import progress
from paced_exp.core.run_folder import RunFolder
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import prompt_ids
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Prompt, Sampling
from paced_exp.rollouts.hf import HFEngine
from paced_exp.rollouts.store import ChunkStore

NAME = "replay"
HELD_OUT = 40  # samples that are never trained on
_GROUP = 64  # prompts between two lines of the journal

_TOPICS = (
    "rain",
    "bread",
    "rivers",
    "music",
    "winter",
    "the moon",
    "libraries",
    "trees",
    "coffee",
    "the ocean",
    "birds",
    "gardens",
    "trains",
    "friendship",
    "dreams",
    "cooking",
    "soccer",
    "bridges",
    "maps",
    "horses",
)
_ASKED = (
    "Write one sentence about {}.",
    "Tell me something about {}.",
    "Why do people like {}?",
    "Give me a short description of {}.",
    "What do you think of when you hear {}?",
    "Write a question about {} and answer it.",
    "Explain {} to a child.",
    "Name two things that go with {}.",
    "Write a short poem about {}.",
    "Give a piece of advice that has to do with {}.",
    "Describe a day with {}.",
)


def replay_prompts(count: int, seed: int) -> list[Problem]:
    """`count` prompts, the same for the same seed; a prompt comes again, with another sample, once all have been used."""
    asked = [text.format(topic) for topic in _TOPICS for text in _ASKED]
    random.Random(f"replay/{seed}").shuffle(asked)
    return [Problem(f"{NAME}-{number:05d}", asked[number % len(asked)], "", None, NAME, NAME, "exact") for number in range(count)]


def replay_samples(
    run: RunFolder, base: LoadedModel, prompts: Sequence[Problem], max_new_tokens: int, seed: int
) -> list[tuple[list[int], list[int]]]:
    """A (prompt, response) pair of token ids for each of `prompts`, sampled from `base` at temperature 1; kept in the run's folder as they come.

    A response that was cut at `max_new_tokens` ends without the end-of-sequence token, so that the model does not learn to stop there.
    """
    asked = {problem.id: Prompt(problem.id, prompt_ids(base.tokenizer, problem)) for problem in prompts}
    store = ChunkStore(run.path, NAME)
    done = store.done_ids()
    left = [prompt for name, prompt in asked.items() if name not in done]
    engine, sampling = HFEngine(base), Sampling(1, max_new_tokens, 1.0, seed)
    with progress(len(asked), "samples", "replay", initial=len(done)) as bar:
        for start in range(0, len(left), _GROUP):
            groups = list(engine.generate(left[start : start + _GROUP], sampling))
            store.append([asdict(rollout) for group in groups for rollout in group])
            bar.update(len(groups))
    return [(list(prompt.token_ids), list(store.rows_of(name)[0]["token_ids"])) for name, prompt in asked.items()]
