r"""Grading: whether a response gives the problem's answer. There is no partial credit.

Every grader but `mentions` reads the response's final answer: the content of its last balanced `\boxed{...}`. Boxes joined by "and", "or" or commas are
one answer, read as a list. A response without a box fails. `Problem.grader` says how the answer is compared:

- `math`: by math-verify 0.9 and this project's rules (`spelling`, `reading`, `agreement`, `rules`). This runs in worker processes with limits (`pool`), never in this process.
- `lab`: by reasoning-gym's verifier of the problem's family, whose score must be exactly 1.0. This runs in this process: the verifiers allowed
  here compare strings, integers or `decimal` numbers, and neither evaluate nor parse code.
- `exact`: by equality of strings (multiple choice).
- `mentions`: correct if the response, of at most `MAX_MENTION_CHARS`, has the answer as words of their own in any case (general knowledge, which a
  pretrained model answers in sentences).

Responses are untrusted. These fail without being read: an answer longer than `MAX_ANSWER_CHARS` or with a control character, and a
response with a NUL or a lone surrogate (which is not valid UTF-8).
"""

import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from functools import cache
from types import TracebackType
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.data.answers import final_answer
from paced_exp.data.problem import Problem
from paced_exp.grading.pool import GradingPool, Pair

logger = logging.getLogger(__name__)


# Families of reasoning-gym 0.1.25 whose verifiers were reviewed: they only compare strings or call int() or decimal.Decimal().
LAB_FAMILIES = frozenset(
    {
        "chain_sum",
        "decimal_chain_sum",
        "fraction_simplification",
        "gcd",
        "letter_counting",
        "number_filtering",
        "products",
        "simple_equations",
        "spell_backward",
        "word_sequence_reversal",
    }
)


# If the question speaks of percent, the answer may have a percent sign or not.
_PERCENT = re.compile(r"percent|%", re.IGNORECASE)


MAX_MENTION_CHARS = 10_000


def mentions(gold: str, response: str) -> bool:
    """Whether `gold` stands in the response as words of their own, in any case. A response over `MAX_MENTION_CHARS` fails unread."""
    if len(response) > MAX_MENTION_CHARS:
        return False
    return re.search(rf"(?<!\w){re.escape(gold)}(?!\w)", response, re.IGNORECASE) is not None


_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{(.*)\}", re.DOTALL)


def exact_match(gold: str, answer: str) -> bool:
    r"""Whether the strings are equal. White space and dollar signs around them are ignored, and one command around the whole string.

    This is `\text{...}`, `\textbf{...}`, `\mathrm{...}` or `\mathbf{...}`. All of it is ignored in the gold answer too.
    """
    return gold.strip() == answer.strip() or _bare(gold) == _bare(answer) != ""


def _bare(text: str) -> str:
    text = text.strip("$ \n\t")
    wrapped = _TEXT_COMMAND.fullmatch(text)
    return wrapped[1].strip() if wrapped else text


@cache
def _lab_verifier(family: str) -> Callable[[str, dict[str, Any]], float]:
    if family not in LAB_FAMILIES:
        raise UserError(
            f"no lab verifier for the family {family!r}; known: {', '.join(sorted(LAB_FAMILIES))}. "
            "before you add one, check that its score_answer neither evaluates nor parses the answer as code"
        )
    import reasoning_gym  # takes a second to import, and only the lab's problems need it

    verifier: Callable[[str, dict[str, Any]], float] = reasoning_gym.get_score_answer_fn(family)
    return verifier


def lab_pass(problem: Problem, answer: str) -> bool:
    """Whether reasoning-gym's `score_answer` gives the answer to a lab problem exactly 1.0. Partial credit counts as a failure.

    Characters outside ASCII must also occur in the gold answer ("aërial"). Python reads digits of any script as numbers and lower-cases
    look-alike letters (the Kelvin sign becomes k), so the verifiers would pass wrong answers. Underscores must occur there too, since Python
    ignores them in numbers.
    """
    if "_" in answer and "_" not in problem.answer:
        return False
    if not answer.isascii() and any(not character.isascii() and character not in problem.answer for character in answer):
        return False
    entry = {"question": problem.prompt, "answer": problem.answer, "metadata": problem.metadata["entry"]}
    return _lab_verifier(problem.metadata["family"])(answer, entry) == 1.0


class Grader:
    """Grades responses; a context manager that owns the worker processes.

    workers: the most worker processes (default: the CPU cores this process may use). time_limit: seconds of CPU time for one grading by
    math-verify. A grading over the limit counts as wrong and its worker is replaced. Its wall time may be four times the limit, so that a
    busy machine does not fail correct answers. memory_limit: bytes of address space of a worker. Workers start with the first `math` problem.
    A grader must not be used from several threads at once.

        with Grader() as grader:
            passed = grader.grade(problems, responses)

    Raises `UserError` for limits that are not positive.
    """

    def __init__(self, workers: int | None = None, time_limit: float = 3.0, memory_limit: int = 1 << 30) -> None:
        if workers is None:
            workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        for name, value in (("workers", workers), ("time_limit", time_limit), ("memory_limit", memory_limit)):
            if not value > 0:
                raise UserError(f"`{name}` {value} of the grader must be above 0")
        self._pool = GradingPool(workers, float(time_limit), memory_limit)

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def grade(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[bool]:
        """Whether each of `responses` solves the problem at the same place in `problems`. Equal answers to a problem are verified once.

        Logs the rate (items/s), and a warning if gradings ran over a limit. Raises `ValueError` for unequal lengths.
        """
        if len(problems) != len(responses):
            raise ValueError(f"{len(problems)} problems but {len(responses)} responses; give one problem for each response")
        began = time.perf_counter()
        passed = [False] * len(problems)
        math: dict[Pair, list[int]] = {}
        for index, (problem, response) in enumerate(zip(problems, responses, strict=True)):
            if problem.grader == "mentions":
                passed[index] = mentions(problem.answer, response)
                continue
            answer = final_answer(response)
            if answer is None:
                continue
            if problem.grader == "math":
                math.setdefault((problem.answer, answer, _PERCENT.search(problem.prompt) is not None), []).append(index)
            elif problem.grader == "lab":
                passed[index] = lab_pass(problem, answer)
            else:
                passed[index] = exact_match(problem.answer, answer)
        for indices, verdict in zip(math.values(), self._verify(list(math)), strict=True):
            for index in indices:
                passed[index] = verdict
        seconds = time.perf_counter() - began
        logger.info("graded %d responses in %.2f s (%.0f items/s)", len(problems), seconds, len(problems) / max(seconds, 1e-9))
        return passed

    def _verify(self, pairs: list[Pair]) -> list[bool]:
        timed_out, died = self._pool.timed_out, self._pool.died
        verdicts = self._pool.verify(pairs)
        timed_out, died = self._pool.timed_out - timed_out, self._pool.died - died
        if timed_out or died:
            logger.warning(
                "%d of %d answers count as wrong: %d exceeded the grading time limit of %g s, %d ended their worker (memory, crash)",
                timed_out + died,
                len(pairs),
                timed_out,
                self._pool.cpu_seconds,
                died,
            )
        return verdicts
