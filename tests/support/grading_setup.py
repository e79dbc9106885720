"""What the tests of grading ask and answer."""

from paced_exp.data.problem import Problem


def problem(answer: str, grader: str = "math") -> Problem:
    return Problem("id", "question", answer, None, "test", "test", grader)  # type: ignore[arg-type]


def boxed(answer: str) -> str:
    return f"Hence\n\\boxed{{{answer}}}"
