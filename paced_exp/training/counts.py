"""How many of K rollouts pass, k, for every problem: measured on the student, or read from a file of pass rates."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.prompt_hashes import check_prompts, hashes_of, with_hashes
from paced_exp.rollouts.pass_rates import Fingerprint, pass_rates, read_pass_rates, warn_of_truncation, write_pass_rates
from paced_exp.training.student_rollouts import Graded, StudentRollouts

Counts = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Measured:
    """What is known of the pass rates of n problems.

    k, K (n,): passes and rollouts. rates (n,): the pass rates estimated without bias: k/K, or what `unbiased_rate` makes of rollouts that were
    stopped early. adaptive: what stopping early saved, for the record (`Stopping.record`); None where no rollouts of this run were.
    """

    k: np.ndarray
    K: np.ndarray
    rates: np.ndarray
    adaptive: dict[str, Any] | None = None

    @classmethod
    def of(cls, k: np.ndarray, K: np.ndarray) -> "Measured":
        """From counts with K fixed beforehand."""
        return cls(k, K, k / K)

    @classmethod
    def of_graded(cls, graded: Graded, problems: Sequence[Problem]) -> "Measured":
        """Of `problems`, from their rollouts."""
        groups = graded.outcomes().groupby("problem_id")["correct"].agg(["sum", "size"]).loc[[problem.id for problem in problems]]
        k, K = groups["sum"].to_numpy().astype(int), groups["size"].to_numpy().astype(int)
        if graded.stopping is None:
            return cls.of(k, K)
        return cls(k, K, graded.stopping.rates(k, K), graded.stopping.record(K))

    def replaced(self, places: np.ndarray, fresh: "Measured") -> "Measured":
        """This with the problems at `places` measured anew."""
        return Measured(
            replaced(self.k, places, fresh.k), replaced(self.K, places, fresh.K), replaced(self.rates, places, fresh.rates), fresh.adaptive
        )


def replaced(values: np.ndarray, places: np.ndarray, new: np.ndarray) -> np.ndarray:
    """A copy of `values` with `new` at `places`."""
    found = values.copy()
    found[places] = new
    return found


def initial_rates(rollouts: StudentRollouts, path: str | None) -> Measured:
    """The pass rates of every problem before training: read from `path`, or measured and written to pass_rates.parquet.

    Raises `UserError` if the file is of another student or was made with other sampling options, lacks a problem, or has one of another prompt.
    """
    context, sampling, problems = rollouts.context, rollouts.sampling, rollouts.problems
    fingerprint = Fingerprint.of(rollouts.student, temperature=sampling.temperature, max_new_tokens=sampling.max_new_tokens)
    if path is not None:
        return Measured.of(*given_counts(path, fingerprint, problems))
    graded = rollouts.graded(0, 0)
    measured = Measured.of_graded(graded, problems)
    if context.processes.main:
        rates, stopping = pass_rates(graded.outcomes()), None
        if measured.adaptive is not None:
            unbiased = dict(zip((problem.id for problem in problems), measured.rates.tolist(), strict=True))
            rates, stopping = rates.assign(unbiased=rates["problem_id"].map(unbiased)), json.dumps(measured.adaptive, sort_keys=True)
        write_pass_rates(context.folder / "pass_rates.parquet", with_hashes(rates, hashes_of(problems)), fingerprint, stopping)
        warn_of_truncation(rates, sampling.max_new_tokens)
    return measured


def given_counts(path: str, fingerprint: Fingerprint, problems: Sequence[Problem]) -> Counts:
    """k and K, each (n,), of `problems` from the pass rates at `path`. Raises `UserError` as `initial_rates` does."""
    table = read_pass_rates(path, fingerprint).set_index("problem_id")
    lacking = [problem.id for problem in problems if problem.id not in table.index]
    if lacking:
        raise UserError(
            f"`pass_rates` {path} lacks {len(lacking)} of the {len(problems)} problems, for example {lacking[0]!r}; make it with the same "
            "`problems`, `limit` and `seed` by: python -m paced_exp.rollout"
        )
    check_prompts(path, problems, f"`pass_rates` {path}")
    chosen = table.loc[[problem.id for problem in problems]]
    return chosen["k"].to_numpy().astype(int), chosen["K"].to_numpy().astype(int)
