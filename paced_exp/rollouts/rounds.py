"""Rollouts in rounds over the problems, of which each continues those that a stopping rule wants more of.

A rollout does not depend on rounds: sample 5 of a problem is the same whether it was made with the others or in a round of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from paced_exp.data.problem import Problem
from paced_exp.rollouts.engine import Sampling
from paced_exp.rollouts.stopping import Stopping, first_rollouts
from paced_exp.rollouts.store import ChunkStore

Roll = Callable[[Sequence[Problem], Sampling, ChunkStore], object]


def roll_in_rounds(
    problems: Sequence[Problem],
    sampling: Sampling,
    open_store: Callable[[int], ChunkStore],
    stopping_of: Callable[[tuple[np.ndarray, np.ndarray]], Stopping],
    roll: Roll,
) -> tuple[list[ChunkStore], Stopping]:
    """Roll out `problems` round by round, each round into a store of its own, until the rule stops all.

    open_store: the store of the round that begins with this sample. stopping_of: the rule, from k and n of the first round. roll: rolls out
    those of its problems that the store lacks. After a kill the same call continues, since what a round rolls out follows from the rounds before.
    """
    stores = [open_store(0)]
    roll(problems, replace(sampling, samples=first_rollouts(sampling.samples)), stores[0])
    passes = np.zeros(len(problems), dtype=np.int64)
    rolled = np.zeros(len(problems), dtype=np.int64)
    _count(stores[0], problems, passes, rolled)
    stopping = stopping_of((passes, rolled))
    for start, end in _rounds(stopping):
        chosen = [
            place
            for place, problem in enumerate(problems)
            if rolled[place] == start and stopping.goes_on(problem.id, int(passes[place]), start)
        ]
        if not chosen:
            break
        stores.append(open_store(start))
        roll([problems[place] for place in chosen], replace(sampling, samples=end - start, first=start), stores[-1])
        _count(stores[-1], problems, passes, rolled)
    return stores, stopping


def _rounds(stopping: Stopping) -> Iterator[tuple[int, int]]:
    return pairwise(sorted({stopping.first, *stopping.looks}))


def _count(store: ChunkStore, problems: Sequence[Problem], passes: np.ndarray, rolled: np.ndarray) -> None:
    """Add a store's passes and rollouts to those of the problems."""
    groups = store.outcomes().groupby("problem_id")["correct"].agg(["sum", "size"])
    here = np.array([problem.id in groups.index for problem in problems])
    found = groups.loc[[problem.id for problem, stored in zip(problems, here, strict=True) if stored]]
    passes[here] += found["sum"].to_numpy()
    rolled[here] += found["size"].to_numpy()
