"""Rollouts of the student in training: those for its pass rates, and the responses of on-policy stages.

The student changes with every update, so each set of rollouts lies in a file named after the update at which it was made. After a kill the run
goes back to its last checkpoint. Rollouts made since then are read back; made again, they would be the same.
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
from paced_exp.training.whole_student import WholeStudent


class StudentRollouts:
    """The rollouts of `student` for `problems`, before and during its training.

    sampling: of the rollouts for pass rates before training. Later rollouts have other random streams. On-policy stages sample one response to
    each problem.
    """

    def __init__(self, context: RunContext, student: LoadedModel, problems: Sequence[Problem], sampling: Sampling) -> None:
        self.context = context
        self.student = student
        self.problems = list(problems)
        self.sampling = sampling
        self._whole = WholeStudent(student, context.processes)

    def graded(self, made_at: int, now: int, indices: Sequence[int] | None = None) -> ChunkStore:
        """The K graded rollouts of every problem by the student at update `made_at`, asked for at update `now`.

        indices: of these problems alone. Raises `UserError` where what is read back is damaged or incomplete.
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
        """A response (token ids) to each of the problems at `indices` by the student at update `made_at`, asked for at update `now`.

        Raises `UserError` where what is read back is damaged, incomplete, or cannot be read by the student.
        """
        # A problem may come more than once: each time is a rollout of its own.
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
        """Raise `UserError` where a past update's rollouts are not all stored: the student that would make them is gone."""
        folder = self.context.folder
        path = folder / f"{name}.jsonl"
        if made_at < now and not (path.exists() and ChunkStore(folder, name).done_ids() >= set(ids)):
            what = "lacks rollouts" if path.exists() else "is missing"
            raise UserError(f"{path} {what}, though the run had passed update {made_at}; delete {folder} and start again")

    def _reseeded(self, name: str, samples: int) -> Sampling:
        return replace(self.sampling, samples=samples, seed=rollout_seed(self.sampling.seed, name, 0))

    @contextmanager
    def _engine(self) -> Iterator[tuple[LoadedModel, RolloutEngine]]:
        """The student as it is now, in evaluation mode, and an engine that samples from it."""
        training = self.student.model.training
        self.student.model.eval()
        try:
            model = self._whole.current()
            yield model, self.context.engines.of(model, live=True)
        finally:
            self.student.model.train(training)

    def _readable(self, store: ChunkStore, name: str) -> list[int]:
        """The response stored under `name`. Raises `UserError` for one that the student cannot read."""
        response: list[int] = store.rows_of(name)[0]["token_ids"]
        token = outside(response, vocabulary_of(self.student))
        if not response or token is not None:
            what = "has no tokens" if token is None else f"holds token id {token}, outside the student's vocabulary"
            raise UserError(f"{store.where(name)}: the rollout of {name!r} {what}; delete {self.context.folder} and start again")
        return response
