"""The three prompts of a problem: plain (student), privileged (teacher that sees the expert solution), concise (OPSDC's teacher).

Each prompt is one user message in the model's chat template. Student and teacher read different prompts, but the same response tokens.
Response ids are appended to `prompt_ids`, and never tokenised again from text, since a decoded response may tokenise to other ids than were
sampled.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.models.templates import FIX, MAX_EXTRA_CHARS, watched

PromptKind = Literal["plain", "privileged", "concise"]

MATH_INSTRUCTION = "Reason step by step and put the final answer in \\boxed{}."
PRIVILEGED = "Expert solution:\n{solution}\nNow solve the problem yourself."
CONCISE = "Answer concisely."


def user_message(problem: Problem, kind: PromptKind = "plain") -> str:
    """Text of the user's message for `problem`.

    Problems graded by math-verify get the instruction to box the answer; lab problems need none, since the lab's models know one format.
    Raises `UserError` for a privileged prompt of a problem without a solution.
    """
    parts = [problem.prompt]
    if problem.grader == "math":
        parts.append(MATH_INSTRUCTION)
    if kind == "privileged":
        if not problem.solution:
            raise UserError(
                f"problem {problem.id!r} has no expert solution, which the privileged prompt needs; "
                "give a source with a solution column or drop the problem"
            )
        parts.append(PRIVILEGED.format(solution=problem.solution))
    elif kind == "concise":
        parts.append(CONCISE)
    return "\n".join(parts)


def solutions_needed(*, teacher_prompt: str, reference: str, fallback: str, on_references: bool = True) -> str | None:
    """The option that makes expert solutions necessary, as messages name it; None if no option does.

    reference: teacher or solution; the probe has rollout besides. on_references: whether any loss is taken on references.
    """
    if teacher_prompt == "privileged":
        return "`teacher_prompt` privileged"
    if on_references and reference == "solution":
        return "a worked solution as reference"
    return "`fallback` solution" if on_references and reference == "teacher" and fallback == "solution" else None


def with_solutions(problems: Iterable[Problem], needed_by: str | None) -> Iterator[Problem]:
    """The same problems, each checked for an expert solution if `needed_by` (from `solutions_needed`) says that one is necessary.

    Raises `UserError` at the first problem without one. Check before rolling out: making the prompt fails too, but after the rollouts.
    """
    for problem in problems:
        if needed_by is not None and not problem.solution:
            raise UserError(
                f"problem {problem.id!r} has no expert solution, which {needed_by} needs; give a source with a solution "
                "column, or take `teacher_prompt` plain and `fallback` drop"
            )
        yield problem


def rendered_prompt(tokenizer: Any, problem: Problem, kind: PromptKind = "plain") -> str:
    """Text of the prompt under the tokenizer's chat template, ending where the response begins.

    Raises `UserError` if the template raises, takes over ten seconds, or makes the message longer by over `MAX_EXTRA_CHARS`.
    """
    text = user_message(problem, kind)
    messages = [{"role": "user", "content": text}]
    with watched(f"problem {problem.id!r}"):
        # enable_thinking must be the same for student and teacher. Otherwise the KL at the first response token is spurious.
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, enable_thinking=False)
    if len(rendered) > len(text) + MAX_EXTRA_CHARS:
        raise UserError(f"the chat template makes {len(rendered)} characters of the {len(text)} of problem {problem.id!r}; {FIX}")
    return str(rendered)


def prompt_ids(tokenizer: Any, problem: Problem, kind: PromptKind = "plain") -> list[int]:
    """Token ids of `rendered_prompt`. Raises `UserError` as it does."""
    return list(tokenizer(rendered_prompt(tokenizer, problem, kind), add_special_tokens=False)["input_ids"])
