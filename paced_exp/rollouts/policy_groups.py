"""The graded rollouts of an update of policy gradient: G of each problem, and G with a hint where none of them is correct (Guide).

Guide (arXiv 2506.13923) gives the hint in the context and trains for the prompt without it; the trainer corrects the importance ratio. The guided
ones take the place of the failed ones, so that all groups have G rollouts, as in the authors' program.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paced_exp.data.hints import hinted
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import PromptKind, prompt_ids
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Prompt, Rollout, RolloutEngine, Sampling


@dataclass(frozen=True)
class PolicyRollout:
    """A graded rollout. prompt: ids of the plain prompt. read: ids of the prompt that it was sampled behind, with the hint if it is guided."""

    problem_id: str
    prompt: list[int]
    read: list[int]
    response: list[int]
    correct: bool

    @property
    def guided(self) -> bool:
        """Whether it was sampled with a hint."""
        return self.prompt != self.read


@dataclass(frozen=True)
class PolicyGroups:
    """The groups of an update, in the order of its problems. rates: each problem's share of correct rollouts before any hint.

    prompt_tokens, response_tokens: read and sampled for the groups, with those that hints replaced; a prompt is read once for its G rollouts.
    """

    rollouts: list[list[PolicyRollout]]
    rates: list[float]
    prompt_tokens: int
    response_tokens: int

    @property
    def rows(self) -> list[PolicyRollout]:
        """The rollouts of all groups, one after the other."""
        return [rollout for group in self.rollouts for rollout in group]


def policy_groups(
    problems: Sequence[Problem],
    model: LoadedModel,
    engine: RolloutEngine,
    grader: Grader,
    sampling: Sampling,
    again: Sampling,
    guide: float,
) -> PolicyGroups:
    """Roll out each problem. guide: share of the solution's lines in the hint; 0 for none. again: how rollouts with a hint are sampled."""
    plain = {problem.id: prompt_ids(model.tokenizer, problem) for problem in problems}
    found = _graded({problem.id: problem for problem in problems}, plain, "plain", model, engine, grader, sampling)
    rates = [sum(rollout.correct for rollout in found[problem.id]) / sampling.samples for problem in problems]
    read = sum(map(len, plain.values()))
    sampled = sum(len(rollout.response) for group in found.values() for rollout in group)
    failed = [problem for problem, rate in zip(problems, rates, strict=True) if rate == 0] if guide else []
    helped = {problem.id: hint for problem in failed if (hint := hinted(problem, guide)) is not None}
    if helped:
        guided = _graded(helped, plain, "privileged", model, engine, grader, again)
        read += sum(len(group[0].read) for group in guided.values())
        sampled += sum(len(rollout.response) for group in guided.values() for rollout in group)
        found |= guided
    return PolicyGroups([found[problem.id] for problem in problems], rates, read, sampled)


def _graded(
    problems: Mapping[str, Problem],
    plain: Mapping[str, list[int]],
    kind: PromptKind,
    model: LoadedModel,
    engine: RolloutEngine,
    grader: Grader,
    sampling: Sampling,
) -> dict[str, list[PolicyRollout]]:
    read = {name: plain[name] if kind == "plain" else prompt_ids(model.tokenizer, problem, kind) for name, problem in problems.items()}
    made = [rollout for group in engine.generate([Prompt(name, ids) for name, ids in read.items()], sampling) for rollout in group]
    passed = grader.grade([problems[rollout.problem_id] for rollout in made], [_text(model, rollout) for rollout in made])
    groups: dict[str, list[PolicyRollout]] = {name: [] for name in problems}
    for rollout, correct in zip(made, passed, strict=True):
        name = rollout.problem_id
        # A rollout that was cut is never correct, as in pass rates.
        groups[name].append(PolicyRollout(name, plain[name], read[name], rollout.token_ids, rollout.finished and correct))
    return groups


def _text(model: LoadedModel, rollout: Rollout) -> str:
    text: str = model.tokenizer.decode(rollout.token_ids, skip_special_tokens=True)
    return text
