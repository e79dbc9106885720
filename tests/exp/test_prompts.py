"""The three prompts: what the user's message says, and that its ids are the chat template's."""

import hashlib
import signal
from pathlib import Path

import pytest

from paced_exp import lab
from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import CONCISE, MATH_INSTRUCTION, PromptKind, prompt_ids, user_message
from paced_exp.models import templates
from tests.support.tiny_models import tiny_tokenizer

LAB = Problem("p1", "2+2=", "4", "2 + 2 = 4\n\\boxed{4}", "lab:chain_sum", "train", "lab")
MATH = Problem("p2", "{x} and {solution}?", "1", "So {x} is \\frac{1}{1}.\n\\boxed{1}", "hub:x", "test", "math")
KINDS: tuple[PromptKind, ...] = ("plain", "privileged", "concise")


def test_plain_prompts_ask_for_a_box_where_the_grader_needs_one() -> None:
    assert user_message(LAB) == "2+2="
    assert user_message(MATH) == f"{{x}} and {{solution}}?\n{MATH_INSTRUCTION}"
    assert "\\boxed{}" in MATH_INSTRUCTION


def test_the_privileged_prompt_holds_the_solution_as_it_is() -> None:
    # Braces of LaTeX in the solution or the question are text, not places to fill in.
    for problem in (LAB, MATH):
        text = user_message(problem, "privileged")
        assert text.startswith(user_message(problem)) and f"\nExpert solution:\n{problem.solution}\n" in text
    assert user_message(LAB, "concise") == f"2+2=\n{CONCISE}"


@pytest.mark.parametrize("solution", [None, ""])
def test_a_privileged_prompt_without_a_solution_names_the_problem(solution: str | None) -> None:
    problem = Problem("p7", "2+2=", "4", solution, "file", "", "exact")
    with pytest.raises(UserError, match="problem 'p7' has no expert solution"):
        user_message(problem, "privileged")


@pytest.mark.parametrize("kind", KINDS)
def test_ids_end_where_the_response_begins(kind: PromptKind) -> None:
    tokenizer = tiny_tokenizer()
    ids = prompt_ids(tokenizer, LAB, kind)
    assert isinstance(ids, list) and all(type(token) is int for token in ids)
    assert ids == tokenizer(user_message(LAB, kind) + ">", add_special_tokens=False)["input_ids"]


def test_thinking_is_off_for_templates_that_know_it() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{{ messages[0]['content'] }}{% if enable_thinking is not defined or enable_thinking %}={% else %}>{% endif %}"
    )
    assert tokenizer.decode(prompt_ids(tokenizer, LAB)).endswith(">")


@pytest.mark.parametrize(
    ("face", "message"),
    [
        ("{{ raise_exception('not this') }}", r"cannot be rendered for problem 'p1' \(TemplateError: not this\)"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", r"cannot be rendered for problem 'p1' \(SecurityError"),
        ("{{ 'ab' * 1000000 }}", r"makes 2000004 characters of the 4 of problem 'p1'"),
    ],
)
def test_a_template_that_fails_for_one_problem_names_it(face: str, message: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% if '2+2' in messages[0]['content'] %}" + face + "{% endif %}{{ messages[0]['content'] }}"
    prompt_ids(tokenizer, MATH)
    with pytest.raises(UserError, match=message):
        prompt_ids(tokenizer, LAB)


def test_a_template_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paced_exp.models.templates.PROMPT_SECONDS", 0.2)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(UserError, match="takes over 0 s for problem 'p1'"):
        prompt_ids(tokenizer, LAB)
    assert signal.getsignal(signal.SIGVTALRM) == before and signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_ids_are_those_of_transformers() -> None:
    tokenizer = tiny_tokenizer()
    for kind in KINDS:
        messages = [{"role": "user", "content": user_message(MATH, kind)}]
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": False, "enable_thinking": False}
        assert prompt_ids(tokenizer, MATH, kind) == tokenizer.apply_chat_template(messages, **options)


def test_the_templates_that_are_not_tried_are_the_labs_and_pass_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = {path.read_text(encoding="utf-8") for path in Path(lab.__file__).parent.glob("checkpoints/*/chat_template.jinja")}
    assert {hashlib.sha256(template.encode()).hexdigest() for template in shipped} == templates.OURS
    tried: list[str] = []
    trial = templates._trial
    monkeypatch.setattr(templates, "_trial", lambda template, tokens: tried.append(template) or trial(template, tokens))
    for template in shipped:
        templates.check_template(template, {}, "shipped")
    assert not tried
    monkeypatch.setattr(templates, "OURS", frozenset())
    for template in shipped:
        templates.check_template(template, {}, "shipped")
    assert set(tried) == shipped
    changed = min(shipped) + " "
    monkeypatch.undo()
    monkeypatch.setattr(templates, "_trial", lambda template, _: "tried" if template == changed else "")
    with pytest.raises(UserError, match="tried"):
        templates.check_template(changed, {}, "changed")
