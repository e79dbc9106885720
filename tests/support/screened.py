"""Simulated problems of known pass rates, screened and rolled out again, and the ranges filled with them as a probe does."""

from typing import NamedTuple

import numpy as np

from paced_exp.probe.ranges import Ranges


class Drawn(NamedTuple):
    """A problem of pass rate p: k of K = 10 passed the screen, and `fresh` of 100 would."""

    name: str
    family: str
    p: float
    k: int
    fresh: int


def draw(count: int, seed: int, *, alpha: float, beta: float, families: int = 1, name: str = "p") -> list[Drawn]:
    """Problems whose pass rates are Beta(alpha, beta), in families f0, f1, ... that do not differ."""
    rng = np.random.default_rng(seed)
    p = rng.beta(alpha, beta, count)
    k, fresh, family = rng.binomial(10, p), rng.binomial(100, p), rng.integers(0, families, count)
    return [Drawn(f"{name}{i}", f"f{family[i]}", float(p[i]), int(k[i]), int(fresh[i])) for i in range(count)]


def fill(drawn: list[Drawn], capacity: int, share: float, batch: int = 7) -> tuple[Ranges, list[str]]:
    """Ranges filled from all of these, and who was rolled out again; `batch` of the ends at a time, as a probe rolls them out."""
    ranges = Ranges(capacity, 10, 100, share)
    rolled: list[str] = []
    waiting: list[Drawn] = []

    def settle() -> None:
        for problem in waiting:
            ranges.settle(problem.name, problem.family, problem.k, problem.fresh)
        rolled.extend(problem.name for problem in waiting)
        waiting.clear()

    for problem in drawn:
        ranges.screen(problem.name, problem.family, problem.k)
        if ranges.wants(problem.family, problem.k):
            waiting.append(problem)
        if len(waiting) == batch:
            settle()
    settle()
    return ranges, rolled
