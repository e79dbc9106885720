"""What the columns of a grid's table show: each is declared once, for all scales.

A table lists column groups (`Table.columns`). A group is a function of the scale, because its sources and their names are the scale's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from paced_exp.reproduce.scales import Scale

# By name, because a table is declared before there are records to measure; `measures.values_of` computes them.
Measure = Literal["accuracy", "tokens", "forgetting", "pass@8", "pass@32", "unsolved"]


@dataclass(frozen=True)
class Column:
    """A column at a scale: the mean of a measure over evaluation sources. best: 1 where high values are good, -1 where low ones are.

    with_difference: whether the table of differences shows it too.
    """

    head: str
    measure: Measure
    sources: tuple[str, ...]
    best: int
    with_difference: bool = True


ColumnGroup = Callable[[Scale], tuple[Column, ...]]


def tiers(scale: Scale) -> tuple[Column, ...]:
    """Accuracy on each tier, in per cent."""
    return tuple(Column(f"{name}, %", "accuracy", (tier,), 1) for name, tier in zip(tier_names(scale), scale.tiers, strict=True))


def mean_of_tiers(scale: Scale) -> tuple[Column, ...]:
    """The primary measure: the mean accuracy of the tiers, in per cent."""
    return (Column("mean of tiers, %", "accuracy", scale.tiers, 1),)


def pass_at(scale: Scale) -> tuple[Column, ...]:
    """The mean over the tiers of pass@8 and pass@32, in per cent: the claims of methods that treat errors are about the whole curve."""
    return (Column("pass@8, %", "pass@8", scale.tiers, 1), Column("pass@32, %", "pass@32", scale.tiers, 1))


def unsolved(scale: Scale) -> tuple[Column, ...]:
    """Accuracy on problems of all tiers that the untrained student never solved: held out, so that it says whether such problems became learnable."""
    return (Column("p = 0 before, %", "unsolved", scale.tiers, 1),)


def tokens(scale: Scale) -> tuple[Column, ...]:
    """Mean response length on each tier."""
    return tuple(Column(f"{name}, tokens", "tokens", (tier,), -1) for name, tier in zip(tier_names(scale), scale.tiers, strict=True))


def retention(scale: Scale) -> tuple[Column, ...]:
    """Accuracy on the retention problems, in per cent. Its difference between two rows is the negative of forgetting's, which is shown."""
    return (Column("retention, %", "accuracy", (scale.retention,), 1, with_difference=False),)


def forgetting(scale: Scale) -> tuple[Column, ...]:
    """The base's retention less the row's, in points."""
    return (Column("forgetting, points", "forgetting", (scale.retention,), -1),)


def tier_names(scale: Scale) -> tuple[str, ...]:
    """Short names of the tiers."""
    return tuple(tier.removeprefix("lab:").removeprefix("hub:").split("/")[-1] for tier in scale.tiers)
