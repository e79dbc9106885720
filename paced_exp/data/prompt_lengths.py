"""Which problems fit: prompt and longest response within every model's context, asked where problems are loaded and not hours later."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import PromptKind, prompt_ids, rendered_prompt

# A token of a byte-level vocabulary is a byte at least; normalising may add some.
TOKENS_A_BYTE = 2


@dataclass
class LongPrompts:
    """Passes on the problems that fit, and refuses or skips the others.

    readers: (model, kind) of every prompt that is made of a problem; model is a `LoadedModel`. max_new_tokens: of the longest response.
    skip: `skip_long`. After use, `skipped` holds the ids that were skipped.
    """

    readers: Sequence[tuple[Any, PromptKind]]
    max_new_tokens: int
    skip: bool
    skipped: list[str] = field(default_factory=list)

    def listed(self, problems: Sequence[Problem]) -> list[Problem]:
        """The problems of a list that fit, in order; what is skipped is counted on stderr.

        Raises `UserError` where some do not fit and are not to be skipped, with their number and the first of them, and where none fits.
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
        """The same of a stream that may not end: raises at the first problem that is too long."""
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
        """Tokens of the first prompt that does not fit with its response, and its model's context; None where all fit."""
        for model, kind in self.readers:
            context = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
            if context is None:
                continue
            allowed = context - self.max_new_tokens
            # Most prompts are short of the context by so much that their tokens need not be counted.
            if TOKENS_A_BYTE * len(rendered_prompt(model.tokenizer, problem, kind).encode(errors="replace")) <= allowed:
                continue
            length = len(prompt_ids(model.tokenizer, problem, kind))
            if length > allowed:
                return length, context
        return None
