"""Hints: the first lines of work, and never the answer."""

from dataclasses import replace

import pytest

from paced_exp.data.hints import hint_of, hinted
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import user_message

SOLUTION = "1 + 2 = 3\n3 + 4 = 7\n7 + 5 = 12\n\\boxed{12}"
PROBLEM = Problem("a", "1 + 2 + 4 + 5 =", "12", SOLUTION, "test", "train", "exact")


@pytest.mark.parametrize(("share", "lines"), [(0.0, 0), (0.1, 1), (1 / 3, 1), (0.34, 2), (0.5, 2), (0.67, 3), (1.0, 3)])
def test_a_share_of_the_lines_rounded_up(share: float, lines: int) -> None:
    assert (hint_of(SOLUTION, share) or "").splitlines() == SOLUTION.splitlines()[:lines]


@pytest.mark.parametrize("solution", [None, "", "\\boxed{3}", "so the answer is $\\boxed{3}$."])
def test_without_lines_of_work_there_is_no_hint(solution: str | None) -> None:
    assert hint_of(solution, 1.0) is None and hinted(replace(PROBLEM, solution=solution), 1.0) is None


def test_the_hint_stands_in_the_privileged_prompt_in_place_of_the_solution() -> None:
    found = hinted(PROBLEM, 0.5)
    assert found is not None
    message = user_message(found, "privileged")
    assert "1 + 2 = 3\n3 + 4 = 7\n" in message and "12" not in message.removeprefix(PROBLEM.prompt)
