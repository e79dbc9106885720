"""Reference responses: what the teacher, with the expert solution in its context, writes for each problem.

K candidates are sampled and the first graded correct is kept; where none is, the worked solution stands in if that is asked for. The
choice is recorded a problem. Student and teacher later read the same ids, never re-tokenised text.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from paced_exp.errors import UserError
from paced_exp.grading import Grader
from paced_exp.models import LoadedModel
from paced_exp.problems import Problem
from paced_exp.prompts import PromptKind, prompt_ids
from paced_exp.rollouts.engine import Prompt, RolloutEngine
from paced_exp.rollouts.store import ChunkStore

Fallback = Literal["solution", "drop"]


@dataclass(frozen=True)
class Reference:
    """A problem's reference response. origin: `teacher`, `solution` (the worked one), or `none` (no correct candidate and no fallback)."""

    problem_id: str
    token_ids: list[int]
    origin: str
    candidates: int
    correct: int


def make_references(
    problems: list[Problem],
    teacher: LoadedModel,
    engine: RolloutEngine,
    grader: Grader,
    store: ChunkStore,
    *,
    candidates: int,
    max_new_tokens: int,
    temperature: float,
    fallback: Fallback,
    seed: int,
    prompt: PromptKind = "privileged",
    on_problem: Any = None,
) -> dict[str, Reference]:
    """A reference for each problem, by id, continuing from what `store` holds; `on_problem()` is called as each is done.

    prompt: what the teacher reads. Raises `UserError` for candidates < 1 and for a problem without an expert solution.
    """
    if candidates < 1:
        raise UserError(f"--candidates {candidates} must be at least 1")
    done = store.done_ids()
    todo = {problem.id: problem for problem in problems if problem.id not in done}
    prompts = [Prompt(problem.id, prompt_ids(teacher.tokenizer, problem, prompt)) for problem in todo.values()]
    for group in engine.generate(prompts, samples=candidates, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed):
        problem = todo[group[0].problem_id]
        texts = [teacher.tokenizer.decode(rollout.token_ids, skip_special_tokens=True) for rollout in group]
        passed = [rollout.finished and correct for rollout, correct in zip(group, grader.grade([problem] * len(group), texts), strict=True)]
        if any(passed):
            chosen = Reference(problem.id, list(group[passed.index(True)].token_ids), "teacher", len(group), sum(passed))
        elif fallback == "solution":
            chosen = Reference(problem.id, solution_ids(problem, teacher), "solution", len(group), 0)
        else:
            chosen = Reference(problem.id, [], "none", len(group), 0)
        store.append([asdict(chosen)])
        if on_problem is not None:
            on_problem()
    return read_references(store)


def read_references(store: ChunkStore) -> dict[str, Reference]:
    """The references a store holds, by problem id."""
    rows: list[dict[str, Any]] = [{str(name): value for name, value in row.items()} for row in store.rows().to_dict("records")]
    return {row["problem_id"]: Reference(**row | {"token_ids": row["token_ids"].tolist()}) for row in rows}


def solution_ids(problem: Problem, model: LoadedModel) -> list[int]:
    """Token ids of the worked solution as a response: its text and the end-of-sequence id. Raises `UserError` for a problem without one."""
    if not problem.solution:
        raise UserError(
            f"problem {problem.id!r} has no expert solution, which was to be its reference; give a source with a solution column or drop it"
        )
    return [*model.tokenizer(problem.solution, add_special_tokens=False)["input_ids"], model.eos_ids[0]]
