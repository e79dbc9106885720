"""Reference responses: for each problem, a correct response sampled from the teacher, which usually reads the expert solution.

Several candidates are sampled, and the first correct one is kept. If none is correct, the worked solution is used or the problem is dropped. The
origin of every reference is recorded. Student and teacher later read its token ids; the text is never tokenised again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import PromptKind, prompt_ids
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Prompt, RolloutEngine, Sampling, Watch
from paced_exp.rollouts.rows import outside
from paced_exp.rollouts.store import ChunkStore

Fallback = Literal["solution", "drop"]
ORIGINS = ("teacher", "solution", "none")


@dataclass(frozen=True)
class Reference:
    """A problem's reference response.

    origin: `teacher`, `solution` (the worked solution), or `none` (no correct candidate and no fallback). candidates: the number that were
    sampled. correct: how many of them were correct.
    """

    problem_id: str
    token_ids: list[int]
    origin: str
    candidates: int
    correct: int


@dataclass(frozen=True)
class ReferenceRecipe:
    """How references are sampled. A reference depends on this, the teacher and the problem.

    candidates: responses sampled for each problem. fallback: if none is correct, `solution` uses the worked solution and `drop` leaves the
    problem out. prompt: the kind of prompt that the teacher reads. seed: of the run.
    """

    candidates: int
    fallback: Fallback
    prompt: PromptKind
    temperature: float
    max_new_tokens: int
    seed: int

    @property
    def sampling(self) -> Sampling:
        """How the candidates are sampled."""
        # With the rollouts' seed, a model that is its own teacher would sample the same responses that made its pass rate.
        return Sampling(self.candidates, self.max_new_tokens, self.temperature, self.seed + 1)

    def header(self, teacher: LoadedModel) -> dict[str, Any]:
        """The recipe and the teacher, as they are stored beside references. Another header means other references."""
        return {"teacher": teacher.fingerprint, **asdict(self)}


def sampled_references(
    problems: Sequence[Problem],
    teacher: LoadedModel,
    engine: RolloutEngine,
    grader: Grader,
    recipe: ReferenceRecipe,
    *,
    watch: Watch | None = None,
) -> Iterator[Reference]:
    """Sample and grade candidates and choose a reference for each problem, in the order in which they finish.

    watch: see `RolloutEngine.generate`. Raises `UserError` for candidates < 1 and for a problem that needs an expert solution and has none.
    """
    if recipe.candidates < 1:
        raise UserError(f"`candidates` {recipe.candidates} must be at least 1")
    by_id = {problem.id: problem for problem in problems}
    prompts = [Prompt(problem.id, prompt_ids(teacher.tokenizer, problem, recipe.prompt)) for problem in by_id.values()]
    for group in engine.generate(prompts, recipe.sampling, watch=watch):
        problem = by_id[group[0].problem_id]
        texts = [teacher.tokenizer.decode(rollout.token_ids, skip_special_tokens=True) for rollout in group]
        passed = [rollout.finished and correct for rollout, correct in zip(group, grader.grade([problem] * len(group), texts), strict=True)]
        if any(passed):
            yield Reference(problem.id, list(group[passed.index(True)].token_ids), "teacher", len(group), sum(passed))
        elif recipe.fallback == "solution":
            yield Reference(problem.id, solution_ids(problem, teacher), "solution", len(group), 0)
        else:
            yield Reference(problem.id, [], "none", len(group), 0)


def make_references(
    problems: Sequence[Problem],
    teacher: LoadedModel,
    engine: RolloutEngine,
    grader: Grader,
    store: ChunkStore,
    recipe: ReferenceRecipe,
    *,
    watch: Watch | None = None,
) -> dict[str, Reference]:
    """All references in `store`, by problem id, after `sampled_references` has made those of `problems` that it lacks. Each is stored at once.

    Raises `UserError` as `sampled_references` and `read_references` do.
    """
    done = store.done_ids()
    todo = [problem for problem in problems if problem.id not in done]
    for reference in sampled_references(todo, teacher, engine, grader, recipe, watch=watch):
        store.append([asdict(reference)])
    return read_references(store, vocabulary_of(teacher))


def vocabulary_of(model: LoadedModel) -> int:
    """The number of token ids that a model can read: the rows of its embedding."""
    return int(model.model.get_input_embeddings().num_embeddings)


def read_references(store: ChunkStore, vocabulary: int | None = None) -> dict[str, Reference]:
    """The references a store holds, by problem id.

    vocabulary: the number of token ids that all readers of the references know; without it ids are not checked. Raises `UserError` naming the
    line of a damaged reference.
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
        return f"has the origin {row['origin']!r:.40}, which is not known; known: {', '.join(ORIGINS)}"
    if row["correct"] > row["candidates"]:
        return f"was correct in {row['correct']} of {row['candidates']} candidates"
    token = None if vocabulary is None else outside(row["token_ids"], vocabulary)
    return "" if token is None else f"holds token id {token}, outside the vocabulary of {vocabulary}"


def solution_ids(problem: Problem, model: LoadedModel) -> list[int]:
    """The worked solution as a response: the token ids of its text and the end-of-sequence id. Raises `UserError` for a problem without one."""
    if not problem.solution:
        raise UserError(
            f"problem {problem.id!r} has no expert solution, which was to be its reference; give a source with a solution column or drop it"
        )
    return [*model.tokenizer(problem.solution, add_special_tokens=False)["input_ids"], model.eos_ids[0]]
