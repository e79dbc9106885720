"""How many of K rollouts pass, k, for every problem: measured on the student before training, or read from a file of pass rates."""

from collections.abc import Sequence

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.rollouts.pass_rates import Fingerprint, pass_rates, read_pass_rates, warn_of_truncation, write_pass_rates
from paced_exp.rollouts.store import ChunkStore
from paced_exp.training.student_rollouts import StudentRollouts

Counts = tuple[np.ndarray, np.ndarray]


def initial_counts(rollouts: StudentRollouts, path: str | None) -> Counts:
    """k and K, each (n,), of every problem before training: read from `path`, or measured and written to pass_rates.parquet.

    Raises `UserError` if the file is of another student or was made with other sampling options, or if it lacks a problem.
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
    """k and K, each (n,), of `problems` from the pass rates at `path`. Raises `UserError` as `initial_counts` does."""
    table = read_pass_rates(path, fingerprint).set_index("problem_id")
    lacking = [problem.id for problem in problems if problem.id not in table.index]
    if lacking:
        raise UserError(
            f"`pass_rates` {path} lacks {len(lacking)} of the {len(problems)} problems, for example {lacking[0]!r}; make it with the same "
            "`problems`, `limit` and `seed` by: python -m paced_exp.rollout"
        )
    chosen = table.loc[[problem.id for problem in problems]]
    return chosen["k"].to_numpy().astype(int), chosen["K"].to_numpy().astype(int)


def counts_of(store: ChunkStore, problems: Sequence[Problem]) -> Counts:
    """k and K, each (n,), of `problems` from their stored rollouts."""
    groups = store.outcomes().groupby("problem_id")["correct"].agg(["sum", "size"]).loc[[problem.id for problem in problems]]
    return groups["sum"].to_numpy().astype(int), groups["size"].to_numpy().astype(int)
