"""The final answer of a response: which box is read, against brute force, in linear time, and what is refused unread."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paced_exp.data.answers import MAX_ANSWER_CHARS, extract_answer, extract_boxed, final_answer
from tests.support.grading_setup import boxed


def brute_force_boxed(text: str) -> str | None:
    """The definition, read off: for each opening of a box, last first, scan to its closing brace; quadratic."""
    escaped = set()
    index = 0
    while index < len(text):
        if text[index] == "\\":
            escaped.add(index + 1)
            index += 1
        index += 1
    for start in reversed([match.end() for match in re.finditer(r"boxed\s*\{", text)]):
        if start - 1 in escaped or not re.search(r"\\boxed\s*$", text[: start - 1]):
            continue
        depth = 1
        for position in range(start, len(text)):
            if position not in escaped:
                depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return text[start:position].strip()
    return None


@given(st.lists(st.sampled_from(["\\boxed", "boxed", "{", "}", "{", "}", "\\", " ", "a", "\n"]), max_size=24).map("".join))
@settings(max_examples=500, deadline=None)
def test_extract_boxed_agrees_with_brute_force(text):
    assert extract_boxed(text) == brute_force_boxed(text)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("no box", None),
        (r"\boxed{4}", "4"),
        (r"\boxed{4} then \boxed{5}.", "5"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed { 7 }", "7"),
        (r"\boxed{1} but \boxed{2", "1"),
        (r"\boxed{x \boxed{3}}", "3"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed 5", None),
        (r"\boxed{}", ""),
        (r"}}\boxed{4}{{", "4"),
    ],
)
def test_extract_boxed_examples(text, content):
    assert extract_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{(2,2)} and \boxed{(6,2)}", "(2,2), (6,2)"),
        (r"$\boxed{2}$, $\boxed{3}$ and $\boxed{5}$.", "2, 3, 5"),
        (r"\(\boxed{1}\) or \(\boxed{-2}\)", "1, -2"),
        (r"$$\boxed{(2, 2)} \quad \text{and} \quad \boxed{(6, 2)}$$", "(2, 2), (6, 2)"),
        (r"\boxed{1}\boxed{2}", "1, 2"),
        ("\\[\n\\boxed{1},\n\\boxed{2}\n\\]", "1, 2"),
        (r"$y_1 = \boxed{2}$ and $y_2 = \boxed{3}$", "2, 3"),
        (r"$\boxed{4}$, $\boxed{4}$", "4"),
        (r"First \boxed{9}. Then \boxed{1}, \boxed{2}", "1, 2"),
        # Far apart, or another sentence: the last one wins.
        ("\\boxed{4}\n\n\\boxed{5}", "5"),
        (r"\boxed{4} so \boxed{5}", "5"),
        (r"\boxed{4}. And \boxed{5}", "5"),
        (r"\boxed{4}," + " " * 100 + r"\boxed{5}", "5"),
        (r"\boxed{4}, the area is \boxed{5}", "5"),
        (r"\boxed{1}, \boxed{x \boxed{3}}", "3"),
        (r"\boxed{1}, \boxed{2", "1"),
        (r"\boxed{4} andor \boxed{5}", "5"),
        ("", None),
    ],
)
def test_joined_boxes_are_one_answer(text, content):
    assert extract_answer(text) == content


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 15_000,
        r"\boxed{1}," * 15_000,
        r"\boxed{1}" + r"\quad" * 50_000 + r"\boxed{1}",
        "\\" * 100_000,
        "{" + " " * 100_000 + "{",
        "{ " * 50_000,
        "\\boxed{" * 5000 + "}" * 5000,
    ],
)
def test_extract_boxed_is_linear(text):
    began = time.process_time()
    extract_boxed(text)
    extract_answer(text)
    assert time.process_time() - began < 2  # quadratic scans of these take minutes


@pytest.mark.parametrize(
    "response",
    [
        "\x00" + boxed("4"),
        boxed("4\x00"),
        boxed("4") + "\udc80",
        boxed(""),
        boxed("4\x1c"),
        boxed("4\x07"),
        boxed("4" * (MAX_ANSWER_CHARS + 1)),
    ],
)
def test_final_answer_refuses(response):
    assert final_answer(response) is None
