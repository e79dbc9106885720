"""Rollouts of the student in training: for its pass rates, and the responses of on-policy stages.

The student changes with every update, so each set of rollouts has a file named after the update at which it was made. After a kill, the run
resumes from its last checkpoint. Rollouts made since then are read back, since the same student would sample the same again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import prompt_ids
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.collect import graded_rollouts
from paced_exp.rollouts.engine import Prompt, RolloutEngine, Sampling, Watch, rollout_seed
from paced_exp.rollouts.groups import RunContext, made_once
from paced_exp.rollouts.references import vocabulary_of
from paced_exp.rollouts.rounds import roll_in_rounds
from paced_exp.rollouts.rows import outside
from paced_exp.rollouts.stopping import Criterion, Stopping
from paced_exp.rollouts.store import ChunkStore
from paced_exp.training.teachers import evaluating
from paced_exp.training.whole_student import WholeStudent


@dataclass(frozen=True)
class Early:
    """How rollouts for pass rates stop early: see `Stopping`, for weights p^i (1-p)^j with these exponents (i, j)."""

    criterion: Criterion
    exponents: tuple[float, float]


@dataclass(frozen=True)
class Graded:
    """Graded rollouts. stores: that hold them. stopping: the rule by which they were stopped early; None for K of every problem."""

    stores: Sequence[ChunkStore]
    stopping: Stopping | None = None

    def outcomes(self) -> pd.DataFrame:
        """A row for each rollout: see `ChunkStore.outcomes`."""
        return pd.concat([store.outcomes() for store in self.stores], ignore_index=True)


class StudentRollouts:
    """The rollouts of `student` for `problems`, before and during its training.

    sampling: for pass rates before training. Later rollouts use other random streams, and on-policy stages sample one response to each problem.
    early: how rollouts for pass rates stop early; None for K of every problem. half: they are sampled in bfloat16.
    """

    def __init__(
        self,
        context: RunContext,
        student: LoadedModel,
        problems: Sequence[Problem],
        sampling: Sampling,
        early: Early | None = None,
        *,
        half: bool = False,
    ) -> None:
        self.context = context
        self.student = student
        self.problems = list(problems)
        self.sampling = sampling
        self.early = early
        self._whole = WholeStudent(student, context.processes, half=half)

    def graded(self, made_at: int, now: int, indices: Sequence[int] | None = None) -> Graded:
        """The graded rollouts for the pass rates of every problem of the student at update `made_at`; the run is at update `now`.

        They are K of each, or stop early by a rule whose law is fitted to the first of this very student. indices: only these problems.
        Raises `UserError` if stored rollouts are damaged or incomplete.
        """
        asked = self.problems if indices is None else [self.problems[index] for index in indices]
        name, early = f"pass_rate_rollouts-{made_at:06d}", self.early
        sampling = self.sampling if made_at == 0 else self._reseeded(name, self.sampling.samples)
        self.require(name, [problem.id for problem in asked], made_at, now)
        with self._engine() as (model, engine):

            def roll(chosen: Sequence[Problem], wanted: Sampling) -> ChunkStore:
                def generate(group: list[Problem], watch: Watch | None) -> Iterator[list[dict[str, Any]]]:
                    assert engine is not None, "the main process rolls out"
                    return graded_rollouts(group, model, engine, self.context.grader, wanted, watch=watch)

                ids, description, store_name = [problem.id for problem in chosen], f"pass rates, update {made_at}", name
                if early is not None:
                    description += f", rollouts {wanted.first + 1} to {wanted.first + wanted.samples}"
                if wanted.first > 0:
                    store_name = f"{name}-{wanted.first:04d}"
                    self.require(store_name, ids, made_at, now)
                items = dict(zip(ids, chosen, strict=True))
                store = made_once(self.context, store_name, items, generate, description=description, samples=wanted.samples)
                store.check_samples(ids, wanted.samples, first=wanted.first)
                return store

            if early is None:
                return Graded([roll(asked, sampling)])

            def stopping_of(counts: tuple[np.ndarray, np.ndarray]) -> Stopping:
                return Stopping.of(early.criterion, sampling.samples, sampling.seed, None, counts, early.exponents)

            return Graded(*roll_in_rounds(asked, sampling, stopping_of, roll))

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
                assert engine is not None, "the main process rolls out"
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
    def _engine(self) -> Iterator[tuple[LoadedModel, RolloutEngine | None]]:
        """The current student in evaluation mode, and on the main process an engine that samples from it."""
        with evaluating(self.student.model):
            model = self._whole.current()
            # The hf engine runs the model to find its batch. Of a sharded student the others' run would wait for the main process forever.
            yield model, self.context.engines.of(model, live=True) if self.context.processes.main else None

    def _readable(self, store: ChunkStore, name: str) -> list[int]:
        """The response stored under `name`. Raises `UserError` if the student cannot read it."""
        response: list[int] = store.rows_of(name)[0]["token_ids"]
        token = outside(response, vocabulary_of(self.student))
        if not response or token is not None:
            what = "has no tokens" if token is None else f"holds token id {token}, outside the student's vocabulary"
            raise UserError(f"{store.where(name)}: the rollout of {name!r} {what}; delete {self.context.folder} and start again")
        return response
