"""A run of rollouts in n parts, each for a process or a machine of its own: part i has every n-th problem, from the i-th on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from paced_exp.core.errors import UserError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Part `number` of `total`, from 1. Parts are interleaved, so that they take about equally long."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard called "2/4".

        Raises `UserError` for anything else.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"`shard` {text} must be PART/PARTS, such as 1/4, 2/4, 3/4 and 4/4 of a run in four parts")
        return cls(int(found[1]), int(found[2]))

    def of(self, items: Sequence[Item]) -> list[Item]:
        """This part of `items`. Raises `UserError` if it is empty."""
        part = list(items[self.number - 1 :: self.total])
        if not part:
            raise UserError(f"`shard` {self} has none of the {len(items)} problems; take at most as many parts as problems")
        return part

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def joined(parts: Sequence[Sequence[Item]]) -> list[Item]:
    """The whole of which `parts` are parts 1, 2, ... in order. Raises `ValueError` if they cannot be.

    >>> joined([["a", "c"], ["b"]])
    ['a', 'b', 'c']
    """
    count = sum(map(len, parts))
    whole = [
        parts[place % len(parts)][place // len(parts)] for place in range(count) if place // len(parts) < len(parts[place % len(parts)])
    ]
    if len(whole) < count:
        raise ValueError(f"parts of {', '.join(str(len(part)) for part in parts)} items are not the parts of one list")
    return whole
