"""The references of a run: sampled from the teacher as segments need them, read from another run, or the worked solutions themselves."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json, write_json
from paced_exp.core.parquet import write_table
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import PromptKind
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.groups import Buffer, Processes, made_once
from paced_exp.rollouts.references import Fallback, Reference, make_references, read_references, solution_ids, vocabulary_of
from paced_exp.rollouts.store import ChunkStore

HEADER = "references.json"


@dataclass(frozen=True)
class ReferenceOptions:
    """How references are made.

    source: `teacher` (the first correct of `candidates` samples, the teacher reading `prompt`) or `solution` (the worked solution).
    fallback: where no candidate is correct. taken_from: folder of another run whose references of the same making are read first.
    """

    source: str
    candidates: int
    fallback: Fallback
    prompt: PromptKind
    temperature: float
    max_new_tokens: int
    seed: int
    taken_from: str | None = None

    def header(self, teacher: LoadedModel) -> dict[str, Any]:
        """What decides a sampled reference, for `HEADER`."""
        return {
            "teacher": teacher.fingerprint,
            "prompt": self.prompt,
            "candidates": self.candidates,
            "temperature": self.temperature,
            "max_new_tokens": self.max_new_tokens,
            "fallback": self.fallback,
            "seed": self.seed,
        }


class ReferenceSupply:
    """References by problem id, in `by_id`; `add` makes what is missing.

    teacher: as it is before training, which may be the student itself; None where the source is `solution`.
    """

    def __init__(
        self,
        folder: Path,
        options: ReferenceOptions,
        teacher: LoadedModel | None,
        student: LoadedModel,
        grader: Grader,
        processes: Processes,
        engines: Engines,
    ) -> None:
        self.by_id: dict[str, Reference] = {}
        self._folder = folder
        self._options = options
        self._teacher = teacher
        self._student = student
        self._grader = grader
        self._processes = processes
        self._engines = engines
        if options.source == "teacher" and options.taken_from is not None and teacher is not None:
            self.by_id |= read_from(Path(options.taken_from), options.header(teacher), self._vocabulary())

    def add(self, problems: Sequence[Problem], step: int) -> None:
        """Have a reference for each of `problems`, needed from update `step` on. Raises `UserError` as `make_references` does."""
        missing = [problem for problem in problems if problem.id not in self.by_id]
        if self._options.source == "solution":
            for problem in missing:
                self.by_id[problem.id] = Reference(problem.id, solution_ids(problem, self._student), "solution", 0, 0)
        elif missing:
            store = self._sampled(missing, step)
            self.by_id |= read_references(store, self._vocabulary())
            if lacking := [problem.id for problem in missing if problem.id not in self.by_id]:
                raise UserError(
                    f"{store.path} lacks problem {lacking[0]!r}, though it holds others that were stored with it; delete the file and run the "
                    "same command again: its references are made anew"
                )

    def _vocabulary(self) -> int:
        """Student and teacher both read the references."""
        return min(vocabulary_of(model) for model in (self._student, self._teacher) if model is not None)

    def _sampled(self, missing: Sequence[Problem], step: int) -> ChunkStore:
        teacher, options = self._teacher, self._options
        assert teacher is not None
        if self._processes.main:
            write_json(self._folder / HEADER, options.header(teacher))

        engine = self._engines.of(teacher)

        def generate(group: list[Problem], buffer: Buffer) -> None:
            make_references(
                group,
                teacher,
                engine,
                self._grader,
                buffer,
                candidates=options.candidates,
                max_new_tokens=options.max_new_tokens,
                temperature=options.temperature,
                fallback=options.fallback,
                # With the rollouts' own seed a model that teaches itself would reuse the very draws that made its pass rate.
                seed=options.seed + 1,
                prompt=options.prompt,
                watch=buffer.watch,
            )

        # A journal of its own for each segment: groups must be cut from the same list whenever the run is started.
        name = f"references-{step:06d}"
        return made_once(
            self._folder,
            name,
            missing,
            lambda problem: problem.id,
            generate,
            self._processes,
            description=f"references, update {step}",
            samples=options.candidates,
        )

    def write(self, path: Path) -> None:
        """All references as a table, a row a problem with its choice (`Reference`), ordered by id; nothing where there are none."""
        if self.by_id:
            rows = [asdict(self.by_id[name]) for name in sorted(self.by_id)]
            write_table(path, pa.Table.from_pylist(rows), None)

    def summary(self) -> dict[str, int]:
        """References by origin, for the record."""
        return {origin: sum(reference.origin == origin for reference in self.by_id.values()) for origin in ("teacher", "solution", "none")}


def read_from(folder: Path, header: dict[str, Any], vocabulary: int | None = None) -> dict[str, Reference]:
    """The references that another run left in `folder`. vocabulary: see `read_references`.

    Raises `UserError` where there are none, where they are of another teacher or sampler, or damaged.
    """
    if not (folder / HEADER).exists():
        raise UserError(f"`references` {folder} has no {HEADER}; name the folder of a distillation run that sampled references")
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
