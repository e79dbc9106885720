r"""Grading: does a response give the problem's answer? Yes or no, never partial credit.

Every grader reads the response's final answer, the content of its last balanced `\boxed{...}`; boxes joined by "and", "or" or commas are
one answer with several parts, read as a list. A response without a box fails. Then, by `Problem.grader`:

- `math`: math-verify 0.9 under this project's rules (`rules`), in worker processes with limits (`pool`); never in this process.
- `lab`: reasoning-gym's own verifier of the family, exactly 1.0. In this process: the verifiers allowed here compare strings, integers
  or `decimal` numbers and neither evaluate nor parse code.
- `exact`: equality of strings (multiple choice).

Responses are untrusted: an answer over `MAX_ANSWER_CHARS`, with a control character, or a response with a NUL or a lone
surrogate (no valid UTF-8), fails unread.
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


# reasoning-gym 0.1.25 families whose verifiers were read: string equality, int() or decimal.Decimal() on the answer, nothing else.
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


# A question that asks in percent is answered with or without the sign.
_PERCENT = re.compile(r"percent|%", re.IGNORECASE)


_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{(.*)\}", re.DOTALL)


def exact_match(gold: str, answer: str) -> bool:
    r"""Equality of strings, up to surrounding white space, dollar signs and one `\text{...}`, `\textbf{...}` or `\math..{...}`."""
    answer = answer.strip("$ \n\t")
    if wrapped := _TEXT_COMMAND.fullmatch(answer):
        answer = wrapped.group(1).strip()
    return answer == gold.strip()


@cache
def _lab_verifier(family: str) -> Callable[[str, dict[str, Any]], float]:
    if family not in LAB_FAMILIES:
        raise UserError(
            f"no lab verifier for the family {family!r}; known: {', '.join(sorted(LAB_FAMILIES))}. "
            "Before adding one, read its score_answer: it must not evaluate or parse the answer as code"
        )
    import reasoning_gym  # takes a second, and problems that are not the lab's never need it

    verifier: Callable[[str, dict[str, Any]], float] = reasoning_gym.get_score_answer_fn(family)
    return verifier


def lab_pass(problem: Problem, answer: str) -> bool:
    """reasoning-gym's `score_answer` of a lab problem is exactly 1.0 (its partial credits are failures).

    Characters outside ASCII must occur in the gold answer ("aërial"): Python reads the digits of any script as numbers and lower-cases
    look-alike letters (the Kelvin sign becomes k), so that verifiers would pass answers that are not the gold answer. So must underscores,
    which it reads over in numbers.
    """
    if "_" in answer and "_" not in problem.answer:
        return False
    if not answer.isascii() and any(not character.isascii() and character not in problem.answer for character in answer):
        return False
    entry = {"question": problem.prompt, "answer": problem.answer, "metadata": problem.metadata["entry"]}
    return _lab_verifier(problem.metadata["family"])(answer, entry) == 1.0


class Grader:
    """Grades responses; a context manager that owns the worker processes.

    workers: how many worker processes at most (default: the CPU cores this process may use). time_limit: seconds of CPU time for one
    math-verify grading; a grading over it is not a pass and its worker is replaced. By the clock a grading may take four times as long, so that
    a busy machine fails no right answer. memory_limit: bytes of address space of a worker. Processes start with the first `math` problem;
    lab problems need none. Not for use from several threads at once.

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
        """Does `responses[i]` solve `problems[i]`? Order is kept, equal answers to a problem are verified once.

        Logs the rate (items/s), and a warning with how many gradings ran over a limit. Raises `ValueError` for unequal lengths.
        """
        if len(problems) != len(responses):
            raise ValueError(f"{len(problems)} problems but {len(responses)} responses; give one problem for each response")
        began = time.perf_counter()
        passed = [False] * len(problems)
        math: dict[Pair, list[int]] = {}
        for index, (problem, response) in enumerate(zip(problems, responses, strict=True)):
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
                "%d of %d answers counted as not correct: %d over the grading time limit of %g s, %d ended their worker (memory, crash)",
                timed_out + died,
                len(pairs),
                timed_out,
                self._pool.cpu_seconds,
                died,
            )
        return verdicts
