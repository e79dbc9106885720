"""The two sources of references: responses sampled from the teacher when they are first needed, and the worked solutions.

Sampled references lie in one journal for each segment of a training. A header beside the journals holds the recipe and the teacher. Another run
may read the references.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json, write_json
from paced_exp.core.parquet import write_table
from paced_exp.data.problem import Problem
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Watch
from paced_exp.rollouts.groups import RunContext, made_once
from paced_exp.rollouts.references import (
    ORIGINS,
    Reference,
    ReferenceRecipe,
    read_references,
    sampled_references,
    solution_ids,
    vocabulary_of,
)
from paced_exp.rollouts.store import ChunkStore

HEADER = "references.json"


class ReferenceSource(ABC):
    """References by problem id, in `by_id`. `add` makes missing ones."""

    def __init__(self) -> None:
        self.by_id: dict[str, Reference] = {}

    def add(self, problems: Sequence[Problem], step: int) -> None:
        """Make the missing references of `problems`, which are needed from update `step` on. Raises `UserError` if one cannot be made."""
        if missing := [problem for problem in problems if problem.id not in self.by_id]:
            self.by_id |= self._made(missing, step)

    @abstractmethod
    def _made(self, missing: Sequence[Problem], step: int) -> dict[str, Reference]: ...

    def write(self, path: Path) -> None:
        """Write all references, if any, as a table with a row for each problem (`Reference`), ordered by id."""
        if self.by_id:
            rows = [asdict(self.by_id[name]) for name in sorted(self.by_id)]
            write_table(path, pa.Table.from_pylist(rows), None)

    def summary(self) -> dict[str, int]:
        """The number of references of each origin."""
        return {origin: sum(reference.origin == origin for reference in self.by_id.values()) for origin in ORIGINS}


class WorkedSolutions(ReferenceSource):
    """The problems' worked solutions, in the student's tokens."""

    def __init__(self, student: LoadedModel) -> None:
        super().__init__()
        self._student = student

    def _made(self, missing: Sequence[Problem], step: int) -> dict[str, Reference]:
        return {each.id: Reference(each.id, solution_ids(each, self._student), "solution", 0, 0) for each in missing}


class SampledReferences(ReferenceSource):
    """Responses sampled from the teacher, stored in the run's folder.

    teacher: as it is before training; it may be the student itself. student: reads the references too. taken_from: the folder of another run,
    whose references are used where it has them. Raises `UserError` if they are of another teacher or recipe.
    """

    def __init__(
        self, context: RunContext, recipe: ReferenceRecipe, teacher: LoadedModel, student: LoadedModel, taken_from: str | None = None
    ) -> None:
        super().__init__()
        self._context = context
        self._recipe = recipe
        self._teacher = teacher
        self._vocabulary = min(vocabulary_of(teacher), vocabulary_of(student))
        if taken_from is not None:
            self.by_id |= read_from(Path(taken_from), recipe.header(teacher), self._vocabulary)

    def _made(self, missing: Sequence[Problem], step: int) -> dict[str, Reference]:
        teacher, recipe, context = self._teacher, self._recipe, self._context
        if context.processes.main:
            write_json(context.folder / HEADER, recipe.header(teacher))
        engine = context.engines.of(teacher)

        def generate(group: list[Problem], watch: Watch | None) -> Iterator[list[dict[str, Any]]]:
            for reference in sampled_references(group, teacher, engine, context.grader, recipe, watch=watch):
                yield [asdict(reference)]

        store = made_once(
            context,
            # Each segment has its own journal, so that a resumed run cuts the same groups from the same list.
            f"references-{step:06d}",
            {problem.id: problem for problem in missing},
            generate,
            description=f"references, update {step}",
            samples=recipe.candidates,
        )
        found = read_references(store, self._vocabulary)
        if lacking := [problem.id for problem in missing if problem.id not in found]:
            raise UserError(
                f"{store.path} lacks problem {lacking[0]!r}, though it holds others that were stored with it; delete the file and run the "
                "same command again: its references are made anew"
            )
        return found


def read_from(folder: Path, header: dict[str, Any], vocabulary: int | None = None) -> dict[str, Reference]:
    """The references of another run in `folder`. vocabulary: see `read_references`.

    Raises `UserError` if there are none, if they are of another teacher or recipe (`ReferenceRecipe.header`), or if they are damaged.
    """
    if not (folder / HEADER).exists():
        raise UserError(f"`references` {folder} has no {HEADER}; name the folder of a run of paced_exp.references, or of a distillation")
    stored = read_json(folder / HEADER)
    if not isinstance(stored, dict):
        raise UserError(f"`references`: {folder / HEADER} holds a {type(stored).__name__}, not an object; leave the option out")
    differing = [f"{name} ({stored.get(name)!r} there, {value!r} wanted)" for name, value in header.items() if stored.get(name) != value]
    if differing:
        raise UserError(f"`references` {folder} holds other references; differing: {', '.join(differing)}; leave the option out")
    found: dict[str, Reference] = {}
    for journal in sorted(folder.glob("references-*.jsonl")):
        found |= read_references(ChunkStore(folder, journal.stem), vocabulary)
    return found
