"""What every rollout engine takes and gives: token ids in, K rollouts a prompt out, each from a random stream of its own."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from paced_exp.core.errors import UserError

# Called as work goes on with the rollouts that finished and the tokens that were sampled since the last call.
Watch = Callable[[int, int], object]


@dataclass(frozen=True)
class Prompt:
    """A prompt as token ids, so that no engine has to tokenise text."""

    problem_id: str
    token_ids: list[int]


@dataclass(frozen=True)
class Rollout:
    """One sampled response.

    problem_id, sample: which prompt, and which of its K rollouts (from 0). token_ids: of the response alone, with the end-of-sequence id
    where one was sampled. finished: whether one was; if not, the response was cut at max_new_tokens. seed: of the rollout's random stream.
    """

    problem_id: str
    sample: int
    token_ids: list[int]
    finished: bool
    seed: int


@dataclass(frozen=True)
class Sampling:
    """How responses are sampled.

    samples: K, rollouts a prompt. max_new_tokens: a response that reaches it is cut. temperature: 0 is greedy decoding. seed: of all
    random streams (`rollout_seed`).
    """

    samples: int
    max_new_tokens: int
    temperature: float
    seed: int


class RolloutEngine(Protocol):
    """Samples responses. A rollout is a function of (model, prompt, seed, problem_id, sample, temperature, max_new_tokens): what else
    is in the batch, the order of the prompts and restarts change it by no more than floating-point rounding does."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, *, watch: Watch | None = None) -> Iterator[list[Rollout]]:
        """Yield the K rollouts of one prompt at a time, by sample, as prompts finish (not in the order given).

        watch: called with rollouts as they finish, of which there may be many between two yields. Raises `UserError`, before any work,
        for a request that makes no sense (`check_request`).
        """
        ...


def rollout_seed(seed: int, problem_id: str, sample: int) -> int:
    """Seed of one rollout's random stream: 63 bits of SHA-256 over (seed, problem_id, sample), the same on every machine.

    >>> rollout_seed(0, "a", 1) == rollout_seed(0, "a", 1), rollout_seed(0, "a", 1) == rollout_seed(0, "a", 2)
    (True, False)
    """
    digest = hashlib.sha256(json.dumps([seed, problem_id, sample]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # signed 64-bit columns and engines hold it


def check_request(prompts: Sequence[Prompt], sampling: Sampling, *, context: int | None, vocabulary: int) -> None:
    """Raise `UserError` for a request no engine can serve.

    context: positions of the model (None where unlimited). vocabulary: rows of its embedding.
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
