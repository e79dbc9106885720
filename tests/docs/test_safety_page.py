"""docs/safety.md: its figures are the record's, its limits are the code's, and its table of decisions is what the grader does."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from paced_exp.core import config
from paced_exp.data import answers as data_answers
from paced_exp.data.problem import Problem
from paced_exp.grading.grader import Grader
from paced_exp.models import templates

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
RECORD = json.loads((ROOT / "results" / "grading" / "math_verify.json").read_text())


def test_agreement_is_the_records() -> None:
    should_pass, should_fail = RECORD["should_pass"], RECORD["should_fail"]
    agree = should_pass["passed"] + should_fail["failed"]
    text = re.sub(r"\s+", " ", PAGE)
    assert f"of {RECORD['cases']} cases {agree} are graded as their authors expect" in text
    assert f"Of {sum(should_pass.values())} that should pass {should_pass['failed']} fail" in text
    assert f"of {sum(should_fail.values())} that should fail {should_fail['passed']} pass" in text
    assert f"{RECORD['left_out']} cases of another kind" in text
    classes = {name: int(count) for name, count in re.findall(r"^\| (prose|form|rule|passed) \| (\d+) \|", PAGE, re.MULTILINE)}
    assert classes == Counter(RECORD["disagree"].values())


def test_limits_are_the_codes() -> None:
    for number in (config.MAX_YAML_BYTES, templates.MAX_EXTRA_CHARS, data_answers.MAX_ANSWER_CHARS):
        assert f"{number:,}" in PAGE
    for text in (
        f"{templates.CPU_SECONDS} s of CPU, {templates.MEMORY_BYTES >> 20} MiB",
        f"{templates.PROMPT_SECONDS:.0f} s of CPU, in the",
    ):
        assert text in PAGE
    assert f"{config.MAX_YAML_DEPTH} levels" in PAGE


def decisions() -> list[tuple[str, str, bool]]:
    found = []
    for line in PAGE.split("## Agreement")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[3] in ("right", "wrong"):
            golds, answers = re.findall(r"`([^`]+)`", cells[0]), re.findall(r"`([^`]+)`", cells[1])
            golds = golds * len(answers) if len(golds) == 1 else golds
            found += [(gold, answer, cells[3] == "right") for gold, answer in zip(golds, answers, strict=True)]
    return found


def test_decisions_are_the_graders() -> None:
    rows = decisions()
    assert len(rows) == 46
    with Grader(workers=1) as grader:
        passed = grader.grade(
            [Problem("id", "question", gold, None, "s", "s", "math") for gold, _, _ in rows],
            [answer if "boxed" in answer else f"\\boxed{{{answer}}}" for _, answer, _ in rows],
        )
    assert passed == [right for _, _, right in rows]


def test_what_is_left_as_it_is() -> None:
    left = PAGE.split("**Left as it is**")[1].split("## Agreement")[0]
    passing = re.findall(r"`([^`]+)` passes for `([^`]+)`|and `([^`]+)` for `([^`]+)`", left)
    pairs = [(one or three, two or four, True) for one, two, three, four in passing]
    failing = left.split("Correct answers that fail:")[1]
    pairs += [(*pair, False) for pair in re.findall(r"`([^`]+)` for (?:the product )?`([^`]+)`", failing)]
    assert Counter(right for _, _, right in pairs) == {True: 5, False: 5}
    with Grader(workers=1) as grader:
        problems = [Problem("id", "question", gold, None, "s", "s", "math") for _, gold, _ in pairs]
        assert grader.grade(problems, [f"\\boxed{{{answer}}}" for answer, _, _ in pairs]) == [right for _, _, right in pairs]
        assert grader.grade([Problem("id", "q", "x=2,y=3", None, "s", "s", "math")], [r"$y=\boxed{3}$, $x=\boxed{2}$"]) == [False]


@pytest.mark.parametrize("area", ["grading", "templates", "configuration"])
def test_areas_that_the_page_speaks_of_have_attacks(area: str) -> None:
    from attack.suite import attacks

    assert any(attack.area == area and not attack.slow for attack in attacks())
