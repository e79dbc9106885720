"""Hints: the first lines of a problem's worked solution, in the prompt that a teacher with the whole solution would read."""

import math
from dataclasses import replace

from paced_exp.data.problem import Problem

_ANSWER = "\\boxed"


def hint_of(solution: str | None, share: float) -> str | None:
    r"""The first `share` of the solution's lines of work, rounded up, but never the last one, which holds the result; None where none is left.

    Lines with a box, which give the answer away, are no work.

    >>> hint_of("1 + 2 = 3\n3 + 4 = 7\n\\boxed{7}", 0.5)
    '1 + 2 = 3'
    """
    lines = [line for line in (solution or "").splitlines() if line.strip() and _ANSWER not in line]
    kept = lines[: min(math.ceil(share * len(lines)), len(lines) - 1)] if lines else []
    return "\n".join(kept) or None


def hinted(problem: Problem, share: float) -> Problem | None:
    """The problem with the hint for its solution, so that the privileged prompt shows the hint alone; None where there is no hint."""
    hint = hint_of(problem.solution, share)
    return None if hint is None else replace(problem, solution=hint)
