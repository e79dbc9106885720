"""Checks, when problems are loaded, that their prompt and longest response fit into the context of every model."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import PromptKind, prompt_ids, rendered_prompt

# Most tokens per byte: a token of a byte-level vocabulary has at least one byte, but normalisation may add bytes.
TOKENS_A_BYTE = 2


@dataclass
class LongPrompts:
    """Keeps the problems that fit; refuses the others, or skips them.

    readers: every model (a `LoadedModel`) with the kind of prompt that it reads. max_new_tokens: tokens of the longest response.
    skip: whether to skip (the option `skip_long`). skipped: the ids skipped so far.
    """

    readers: Sequence[tuple[Any, PromptKind]]
    max_new_tokens: int
    skip: bool
    skipped: list[str] = field(default_factory=list)

    def listed(self, problems: Sequence[Problem]) -> list[Problem]:
        """The problems that fit, in order. Prints to stderr how many are skipped.

        Raises `UserError` if a problem does not fit and `skip` is false (the message has their number and the first), or if none fits.
        """
        long = {problem.id: excess for problem in problems if (excess := self._excess(problem)) is not None}
        if not long:
            return list(problems)
        name, (length, context) = next(iter(long.items()))
        first = f"problem {name!r}: a prompt of {length} tokens and `max_new_tokens` {self.max_new_tokens}, in a context of {context}"
        if not self.skip:
            raise UserError(
                f"{len(long)} of {len(problems)} problems are too long for the model, the first is {first}; "
                "skip them with `skip_long`, or give fewer `max_new_tokens`"
            )
        if len(long) == len(problems):
            raise UserError(f"`skip_long` leaves none of {len(problems)} problems, the first is {first}; give fewer `max_new_tokens`")
        print(f"`skip_long`: {len(long)} of {len(problems)} problems are skipped, the first is {first}", file=sys.stderr)
        self.skipped += long
        return [problem for problem in problems if problem.id not in long]

    def streamed(self, problems: Iterable[Problem]) -> Iterator[Problem]:
        """As `listed`, for a stream that may have no end. Raises `UserError` at the first problem that does not fit."""
        for problem in problems:
            excess = self._excess(problem)
            if excess is None:
                yield problem
            elif self.skip:
                self.skipped.append(problem.id)
            else:
                raise UserError(
                    f"problem {problem.id!r} is too long for the model: a prompt of {excess[0]} tokens and `max_new_tokens` "
                    f"{self.max_new_tokens}, in a context of {excess[1]}; skip such problems with `skip_long`, or give fewer `max_new_tokens`"
                )

    def _excess(self, problem: Problem) -> tuple[int, int] | None:
        """(tokens of the prompt, tokens of the context) for the first model that cannot hold prompt and response; None if all can."""
        for model, kind in self.readers:
            context = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
            if context is None:
                continue
            allowed = context - self.max_new_tokens
            # Most prompts are so short that their bytes already show it; counting tokens is slower.
            if TOKENS_A_BYTE * len(rendered_prompt(model.tokenizer, problem, kind).encode(errors="replace")) <= allowed:
                continue
            length = len(prompt_ids(model.tokenizer, problem, kind))
            if length > allowed:
                return length, context
        return None
