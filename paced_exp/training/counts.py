"""Passes k of K rollouts for every problem: rolled out now from the student as it is, or read from a file of pass rates."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.collect import collect
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.groups import Buffer, Processes, made_once
from paced_exp.rollouts.store import ChunkStore

Counts = tuple[np.ndarray, np.ndarray]


def counts_name(step: int) -> str:
    """Name of the journal of the rollouts behind the pass rates at update `step`."""
    return f"pass_rate_rollouts-{step:06d}"


def roll_out(
    folder: Path,
    step: int,
    student: LoadedModel,
    problems: Sequence[Problem],
    grader: Grader,
    processes: Processes,
    engines: Engines,
    *,
    K: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
) -> ChunkStore:
    """K graded rollouts of every problem by `student` as it is at update `step`; made once, read back after a restart.

    Raises `UserError` where what is read back is damaged, or has not K rollouts of every problem.
    """

    def generate(group: list[Problem], buffer: Buffer) -> None:
        made = collect(
            group,
            student,
            engine,
            grader,
            buffer,
            samples=K,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            watch=buffer.watch,
        )
        for _ in made:
            pass

    training = student.model.training
    student.model.eval()
    engine = engines.of(student, live=True)
    store = made_once(
        folder,
        counts_name(step),
        problems,
        lambda problem: problem.id,
        generate,
        processes,
        description=f"pass rates, update {step}",
        samples=K,
    )
    student.model.train(training)
    store.check_samples([problem.id for problem in problems], K)
    return store


def counts_of(store: ChunkStore, problems: Sequence[Problem]) -> Counts:
    """k and K (n,) of `problems` from their stored rollouts."""
    groups = store.outcomes().groupby("problem_id")["correct"].agg(["sum", "size"]).loc[[problem.id for problem in problems]]
    return groups["sum"].to_numpy().astype(int), groups["size"].to_numpy().astype(int)


def counts_in(rates: pd.DataFrame, problems: Sequence[Problem], path: str) -> Counts:
    """k and K (n,) of `problems` from a table of pass rates. Raises `UserError` naming a problem that the table lacks."""
    table = rates.set_index("problem_id")
    lacking = [problem.id for problem in problems if problem.id not in table.index]
    if lacking:
        raise UserError(
            f"`pass_rates` {path} lacks {len(lacking)} of the {len(problems)} problems, for example {lacking[0]!r}; roll out the same "
            "--problems, --limit and --seed with: python -m paced_exp.rollout"
        )
    chosen = table.loc[[problem.id for problem in problems]]
    return chosen["k"].to_numpy().astype(int), chosen["K"].to_numpy().astype(int)
