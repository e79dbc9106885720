"""The protocol of rollout engines: they take prompts as token ids and return K rollouts of each, every one from its own random stream."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from paced_exp.core.errors import UserError

# Called during the work, with the number of rollouts that finished and of tokens that were sampled since the last call.
Watch = Callable[[int, int], object]


@dataclass(frozen=True)
class Prompt:
    """A prompt. It is given as token ids, so that engines need not tokenise text."""

    problem_id: str
    token_ids: list[int]


@dataclass(frozen=True)
class Rollout:
    """One sampled response.

    problem_id: of its prompt. sample: its number among the prompt's K rollouts, from 0. token_ids: of the response only, with the
    end-of-sequence id if it was sampled. finished: whether it was sampled; otherwise the response was cut at max_new_tokens. seed: of the
    rollout's random stream.
    """

    problem_id: str
    sample: int
    token_ids: list[int]
    finished: bool
    seed: int


@dataclass(frozen=True)
class Sampling:
    """How responses are sampled.

    samples: K, the rollouts of each prompt. max_new_tokens: longer responses are cut. temperature: 0 is greedy decoding. seed: the seed that
    those of all rollouts are derived from (`rollout_seed`). first: the number of the first sample, for prompts that have some already.
    """

    samples: int
    max_new_tokens: int
    temperature: float
    seed: int
    first: int = 0

    @property
    def numbers(self) -> range:
        """The numbers of the samples."""
        return range(self.first, self.first + self.samples)


class RolloutEngine(Protocol):
    """Samples responses.

    A rollout is a function of model, prompt, seed, problem_id, sample, temperature and max_new_tokens. The rest of the batch, the order of the
    prompts and restarts only change it through floating-point rounding.

    start_seconds: the time that starting the engine's processes has taken so far; zero for an engine without any.
    """

    start_seconds: float

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, *, watch: Watch | None = None) -> Iterator[list[Rollout]]:
        """Yield the K rollouts of one prompt after the other, in the order in which prompts finish. Rollouts are ordered by sample.

        watch: called as rollouts finish, which may be many times between two yields. Raises `UserError` for an invalid request
        (`check_request`), before any work.
        """
        ...


def rollout_seed(seed: int, problem_id: str, sample: int) -> int:
    """Seed of one rollout's random stream: 63 bits of SHA-256 over (seed, problem_id, sample), the same on every machine.

    >>> rollout_seed(0, "a", 1) == rollout_seed(0, "a", 1), rollout_seed(0, "a", 1) == rollout_seed(0, "a", 2)
    (True, False)
    """
    digest = hashlib.sha256(json.dumps([seed, problem_id, sample]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # fits into a signed 64-bit integer


def check_request(prompts: Sequence[Prompt], sampling: Sampling, *, context: int | None, vocabulary: int) -> None:
    """Raise `UserError` for a request no engine can serve.

    context: the number of positions of the model; None for no limit. vocabulary: the number of rows of its embedding.
    """
    max_new_tokens, temperature = sampling.max_new_tokens, sampling.temperature
    if sampling.samples < 1:
        raise UserError(f"`K` {sampling.samples} (rollouts a problem) must be at least 1")
    if max_new_tokens < 1:
        raise UserError(f"`max_new_tokens` {max_new_tokens} must be at least 1")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise UserError(f"`temperature` {temperature} must be a finite number of at least 0 (0 is greedy decoding)")
    repeated = [name for name, count in Counter(prompt.problem_id for prompt in prompts).items() if count > 1]
    if repeated:
        raise UserError(f"problem id {repeated[0]!r} occurs more than once among the prompts; ids must be unique")
    for prompt in prompts:
        length = len(prompt.token_ids)
        if length == 0:
            raise UserError(f"the prompt of problem {prompt.problem_id!r} has no tokens; check the problem and the chat template")
        if context is not None and length >= context:
            raise UserError(
                f"the prompt of problem {prompt.problem_id!r} has {length} tokens, but the model's context is {context}; "
                "drop the problem or take a model with a longer context"
            )
        if context is not None and length + max_new_tokens > context:
            raise UserError(
                f"the prompt of problem {prompt.problem_id!r} ({length} tokens) and `max_new_tokens` {max_new_tokens} exceed the "
                f"model's context of {context}; at most {context - length} new tokens fit"
            )
        outside = next((token for token in prompt.token_ids if not 0 <= token < vocabulary), None)
        if outside is not None:
            raise UserError(
                f"the prompt of problem {prompt.problem_id!r} holds token id {outside}, outside the model's {vocabulary} embeddings; "
                "use the model's own tokenizer"
            )
