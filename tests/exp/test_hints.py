"""Hints: the first lines of work, and never the answer."""

from dataclasses import replace
from itertools import islice

import pytest

from paced_exp.data.hints import hint_of, hinted
from paced_exp.data.lab.splits import lab_problems
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import user_message

SOLUTION = "1 + 2 = 3\n3 + 4 = 7\n7 + 5 = 12\n\\boxed{12}"
PROBLEM = Problem("a", "1 + 2 + 4 + 5 =", "12", SOLUTION, "test", "train", "exact")


@pytest.mark.parametrize(("share", "lines"), [(0.0, 0), (0.1, 1), (1 / 3, 1), (0.34, 2), (0.5, 2), (0.67, 2), (1.0, 2)])
def test_a_share_of_the_lines_rounded_up_but_never_the_last(share: float, lines: int) -> None:
    assert (hint_of(SOLUTION, share) or "").splitlines() == SOLUTION.splitlines()[:lines]


@pytest.mark.parametrize("solution", [None, "", "\\boxed{3}", "so the answer is $\\boxed{3}$.", "1 + 2 = 3\n\\boxed{3}"])
def test_without_a_line_before_the_result_there_is_no_hint(solution: str | None) -> None:
    assert hint_of(solution, 1.0) is None and hinted(replace(PROBLEM, solution=solution), 1.0) is None


def test_the_hint_stands_in_the_privileged_prompt_in_place_of_the_solution() -> None:
    found = hinted(PROBLEM, 0.5)
    assert found is not None
    message = user_message(found, "privileged")
    assert "1 + 2 = 3\n3 + 4 = 7\n" in message and "12" not in message.removeprefix(PROBLEM.prompt)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_no_hint_for_a_sum_of_the_lab_ends_in_its_answer(share: float) -> None:
    """But by chance, where the last term is zero. A product with a zero, or a greatest common divisor, is known before the last line by its nature."""
    problems = [problem for problem in islice(lab_problems("pool", 0), 900) if "chain_sum" in problem.metadata["family"]]
    hints = [(problem, hint) for problem in problems if (hint := hint_of(problem.solution, share)) is not None]
    ends = [problem for problem, hint in hints if hint.endswith(f"= {problem.answer}")]
    assert len(hints) > 100 and len(ends) <= 0.01 * len(hints), [problem.solution for problem in ends[:3]]
