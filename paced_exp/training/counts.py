"""Passes k of K rollouts for every problem: rolled out now from the student as it is, or read from a file of pass rates."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.rollouts.pass_rates import Fingerprint, pass_rates, read_pass_rates, warn_of_truncation, write_pass_rates
from paced_exp.rollouts.store import ChunkStore
from paced_exp.training.student_rollouts import StudentRollouts

Counts = tuple[np.ndarray, np.ndarray]


def initial_counts(rollouts: StudentRollouts, path: str | None) -> Counts:
    """k and K (n,) of every problem before training: from the pass rates at `path`, or rolled out and written to pass_rates.parquet.

    Raises `UserError` for pass rates of another student or of other rollouts, and where one of the problems has none.
    """
    context, sampling, problems = rollouts.context, rollouts.sampling, rollouts.problems
    fingerprint = Fingerprint.of(rollouts.student, temperature=sampling.temperature, max_new_tokens=sampling.max_new_tokens)
    if path is not None:
        return given_counts(path, fingerprint, problems)
    store = rollouts.graded(0, 0)
    if context.processes.main:
        rates = pass_rates(store.outcomes())
        write_pass_rates(context.folder / "pass_rates.parquet", rates, fingerprint)
        warn_of_truncation(rates, sampling.max_new_tokens)
    return counts_of(store, problems)


def given_counts(path: str, fingerprint: Fingerprint, problems: Sequence[Problem]) -> Counts:
    """k and K (n,) of `problems` from the pass rates at `path`. Raises `UserError` where `initial_counts` does."""
    return counts_in(read_pass_rates(path, fingerprint), problems, path)


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
