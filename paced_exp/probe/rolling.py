"""Rolls out the student into a journal of the run, and makes files from it. Used for screens and for fresh rollouts."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.core.progress import Bar
from paced_exp.core.run_folder import RunFolder
from paced_exp.data.problem import Problem
from paced_exp.data.prompt_hashes import hashes_of, with_hashes
from paced_exp.data.sources import save_problems
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import LoadedModel
from paced_exp.probe.config import ProbeConfig
from paced_exp.rollouts.collect import collect
from paced_exp.rollouts.engine import RolloutEngine, Sampling
from paced_exp.rollouts.pass_rates import Fingerprint, pass_rates, warn_of_truncation, write_pass_rates
from paced_exp.rollouts.store import ChunkStore

# Appends an earlier run's rollouts of these problems to a store, and yields each problem's rows (`paced_exp.probe.earlier`).
Give = Callable[[list[Problem], ChunkStore], Iterator[list[dict[str, Any]]]]


class Roller:
    """Rolls problems out into the journal `name` of a run, and counts how often each passed.

    sampling: K rollouts per problem, with the seed of their streams. give: appends the rollouts of an earlier run.
    """

    def __init__(
        self,
        run: RunFolder,
        name: str,
        sampling: Sampling,
        student: LoadedModel,
        engine: RolloutEngine,
        grader: Grader,
        bar: Bar,
        give: Give | None = None,
    ) -> None:
        self._run, self._name, self._sampling = run, name, sampling
        self._student, self._engine, self._grader, self._bar, self._give = student, engine, grader, bar, give
        self._store = ChunkStore(run.path, name)
        self.order: list[str] = []
        self._hashes: dict[str, str] = {}
        self.passes: dict[str, int] = {
            str(problem): int(count) for problem, count in self._store.outcomes().groupby("problem_id")["correct"].sum().items()
        }

    def roll(self, problems: list[Problem]) -> None:
        """Make the rollouts of these problems that the journal lacks. Afterwards, `passes` has their counts."""
        self.order += [problem.id for problem in problems]
        self._hashes |= hashes_of(problems)
        if self._give is not None:
            for rows in self._give(problems, self._store):
                self._count(rows)
        for rows in collect(problems, self._student, self._engine, self._grader, self._store, self._sampling, watch=self._bar.watch):
            self._count(rows)

    def _count(self, rows: list[dict[str, Any]]) -> None:
        self.passes[rows[0]["problem_id"]] = sum(row["correct"] for row in rows)

    def finish(self, rates_name: str, *, warn: bool = False) -> None:
        """Write NAME.parquet and the pass rates, in the order in which problems were rolled out. warn: warn if many responses were cut."""
        sampling = self._sampling
        fingerprint = Fingerprint.of(self._student, temperature=sampling.temperature, max_new_tokens=sampling.max_new_tokens)
        self._store.finalise(order=self.order, metadata={"paced_fingerprint": json.dumps(asdict(fingerprint), sort_keys=True)})
        rates = pass_rates(self._store.outcomes()).set_index("problem_id").loc[self.order].reset_index()
        write_pass_rates(self._run / rates_name, with_hashes(rates, self._hashes), fingerprint)
        if warn:
            warn_of_truncation(rates, sampling.max_new_tokens)


def screening(config: ProbeConfig) -> Sampling:
    """The rollouts of the screen."""
    return Sampling(config.K, config.max_new_tokens, config.temperature, config.seed)


def save_kept(config: ProbeConfig, run: RunFolder, problems: dict[str, Problem]) -> None:
    """Write the problems that bins or ranges have kept. Raises `UserError` if there are none."""
    if not problems:
        raise UserError(f"`problems` {config.problems} gave no problem to probe; name a source with problems in it")
    save_problems(list(problems.values()), run / "problems.parquet")
