"""Rollouts of the student in training: for its pass rates, and the responses of on-policy stages.

The student changes with every update, so each set of rollouts has a file named after the update at which it was made. After a kill, the run
resumes from its last checkpoint. Rollouts made since then are read back, since the same student would sample the same again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import prompt_ids
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.collect import graded_rollouts
from paced_exp.rollouts.engine import Prompt, RolloutEngine, Sampling, Watch, rollout_seed
from paced_exp.rollouts.groups import RunContext, made_once
from paced_exp.rollouts.references import vocabulary_of
from paced_exp.rollouts.rows import outside
from paced_exp.rollouts.store import ChunkStore
from paced_exp.training.teachers import evaluating
from paced_exp.training.whole_student import WholeStudent


class StudentRollouts:
    """The rollouts of `student` for `problems`, before and during its training.

    sampling: for pass rates before training. Later rollouts use other random streams, and on-policy stages sample one response to each problem.
    """

    def __init__(self, context: RunContext, student: LoadedModel, problems: Sequence[Problem], sampling: Sampling) -> None:
        self.context = context
        self.student = student
        self.problems = list(problems)
        self.sampling = sampling
        self._whole = WholeStudent(student, context.processes)

    def graded(self, made_at: int, now: int, indices: Sequence[int] | None = None) -> ChunkStore:
        """The K graded rollouts of every problem by the student at update `made_at`; the run is at update `now`.

        indices: only these problems. Raises `UserError` if stored rollouts are damaged or incomplete.
        """
        asked = self.problems if indices is None else [self.problems[index] for index in indices]
        name, ids = f"pass_rate_rollouts-{made_at:06d}", [problem.id for problem in asked]
        self.require(name, ids, made_at, now)
        sampling = self.sampling if made_at == 0 else self._reseeded(name, self.sampling.samples)
        with self._engine() as (model, engine):

            def generate(group: list[Problem], watch: Watch | None) -> Iterator[list[dict[str, Any]]]:
                return graded_rollouts(group, model, engine, self.context.grader, sampling, watch=watch)

            store = made_once(
                self.context,
                name,
                {problem.id: problem for problem in asked},
                generate,
                description=f"pass rates, update {made_at}",
                samples=sampling.samples,
            )
        store.check_samples(ids, sampling.samples)
        return store

    def responses(self, indices: Sequence[int], made_at: int, now: int) -> list[list[int]]:
        """A response (token ids) to each of the problems at `indices` by the student at update `made_at`; the run is at update `now`.

        Raises `UserError` if stored rollouts are damaged or incomplete, or hold tokens outside the student's vocabulary.
        """
        # A problem that occurs several times gets a rollout of its own each time.
        prompts = [
            Prompt(f"{place}:{self.problems[index].id}", prompt_ids(self.student.tokenizer, self.problems[index]))
            for place, index in enumerate(indices)
        ]
        name, ids = f"rollouts-{made_at:06d}", [prompt.problem_id for prompt in prompts]
        self.require(name, ids, made_at, now)
        with self._engine() as (_, engine):

            def generate(group: list[Prompt], watch: Watch | None) -> Iterator[list[dict[str, Any]]]:
                for rollouts in engine.generate(group, self._reseeded(name, 1), watch=watch):
                    yield [asdict(rollout) for rollout in rollouts]

            store = made_once(self.context, name, dict(zip(ids, prompts, strict=True)), generate, size=max(1, len(prompts)))
        store.check_samples(ids, 1)
        return [self._readable(store, each) for each in ids]

    def require(self, name: str, ids: Sequence[str], made_at: int, now: int) -> None:
        """Raise `UserError` if rollouts of a past update are missing, since the student that could make them no longer exists."""
        folder = self.context.folder
        path = folder / f"{name}.jsonl"
        if made_at < now and not (path.exists() and ChunkStore(folder, name).done_ids() >= set(ids)):
            what = "lacks rollouts" if path.exists() else "is missing"
            raise UserError(f"{path} {what}, although the run is past update {made_at}; delete {folder} and start again")

    def _reseeded(self, name: str, samples: int) -> Sampling:
        return replace(self.sampling, samples=samples, seed=rollout_seed(self.sampling.seed, name, 0))

    @contextmanager
    def _engine(self) -> Iterator[tuple[LoadedModel, RolloutEngine]]:
        """The current student in evaluation mode, and an engine that samples from it."""
        with evaluating(self.student.model):
            model = self._whole.current()
            yield model, self.context.engines.of(model, live=True)

    def _readable(self, store: ChunkStore, name: str) -> list[int]:
        """The response stored under `name`. Raises `UserError` if the student cannot read it."""
        response: list[int] = store.rows_of(name)[0]["token_ids"]
        token = outside(response, vocabulary_of(self.student))
        if not response or token is not None:
            what = "has no tokens" if token is None else f"holds token id {token}, outside the student's vocabulary"
            raise UserError(f"{store.where(name)}: the rollout of {name!r} {what}; delete {self.context.folder} and start again")
        return response
