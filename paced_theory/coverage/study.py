"""What a study of coverage is."""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator


@dataclass(frozen=True)
class Covered:
    """One setting of a study: of `replicates` simulated data sets, in how many the interval held the truth.

    study, setting: what was simulated, in words. nominal: the interval's stated coverage. required: the least coverage that the project
    promises there; None where it promises none and says so beside the interval. extra: further numbers, such as a bias.
    """

    study: str
    setting: str
    nominal: float
    covered: int
    replicates: int
    required: float | None
    extra: dict[str, float]


@dataclass(frozen=True)
class Setting:
    """One setting to simulate: `run(replicates, rng)` gives its row.

    quick: data sets at the size of seconds, 0 where even a few take too long; full: data sets for the record.
    """

    study: str
    name: str
    run: Callable[[int, Generator], Covered]
    quick: int = 20
    full: int = 1000
