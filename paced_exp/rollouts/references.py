"""Reference responses: what the teacher, with the expert solution in its context, writes for each problem.

K candidates are sampled and the first graded correct is kept; where none is, the worked solution stands in if that is asked for. The
choice is recorded a problem. Student and teacher later read the same ids, never re-tokenised text.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import PromptKind, prompt_ids
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Prompt, RolloutEngine, Watch
from paced_exp.rollouts.rows import outside
from paced_exp.rollouts.store import ChunkStore

Fallback = Literal["solution", "drop"]
ORIGINS = ("teacher", "solution", "none")


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
    watch: Watch | None = None,
) -> dict[str, Reference]:
    """A reference for each problem, by id, continuing from what `store` holds.

    prompt: what the teacher reads. watch: see `RolloutEngine.generate`. Raises `UserError` for candidates < 1, for a problem without an
    expert solution, and for a stored reference that cannot be the teacher's.
    """
    if candidates < 1:
        raise UserError(f"`candidates` {candidates} must be at least 1")
    done = store.done_ids()
    todo = {problem.id: problem for problem in problems if problem.id not in done}
    prompts = [Prompt(problem.id, prompt_ids(teacher.tokenizer, problem, prompt)) for problem in todo.values()]
    request: dict[str, Any] = {"samples": candidates, "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    for group in engine.generate(prompts, **request | ({} if watch is None else {"watch": watch})):
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
    return read_references(store, vocabulary_of(teacher))


def vocabulary_of(model: LoadedModel) -> int:
    """Token ids that a model can read: the rows of its embedding."""
    return int(model.model.get_input_embeddings().num_embeddings)


def read_references(store: ChunkStore, vocabulary: int | None = None) -> dict[str, Reference]:
    """The references a store holds, by problem id.

    vocabulary: ids below it can be read by the models that are to read the references; not checked when left out. Raises `UserError`
    naming the line of a reference that cannot be one.
    """
    found: dict[str, Reference] = {}
    for row in (row for rows in store.chunks() for row in rows):
        name = row["problem_id"]
        wrong = _wrong(row, vocabulary) if name not in found else "occurs twice"
        if wrong:
            raise UserError(
                f"{store.where(name)}: the reference of problem {name!r} {wrong}; delete {store.path} and run the same command again"
            )
        found[name] = Reference(**row)
    return found


def _wrong(row: dict[str, Any], vocabulary: int | None) -> str:
    if row.keys() != {each.name for each in fields(Reference)}:
        return f"has the columns {', '.join(row)}, not those of a reference"
    if row["origin"] not in ORIGINS:
        return f"has the origin {row['origin']!r:.40}, which is none of {', '.join(ORIGINS)}"
    if row["correct"] > row["candidates"]:
        return f"was correct in {row['correct']} of {row['candidates']} candidates"
    token = None if vocabulary is None else outside(row["token_ids"], vocabulary)
    return "" if token is None else f"holds token id {token}, outside the vocabulary of {vocabulary}"


def solution_ids(problem: Problem, model: LoadedModel) -> list[int]:
    """Token ids of the worked solution as a response: its text and the end-of-sequence id. Raises `UserError` for a problem without one."""
    if not problem.solution:
        raise UserError(
            f"problem {problem.id!r} has no expert solution, which was to be its reference; give a source with a solution column or drop it"
        )
    return [*model.tokenizer(problem.solution, add_special_tokens=False)["input_ids"], model.eos_ids[0]]
