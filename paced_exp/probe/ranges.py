"""Pass-rate ranges down to [0, 0.01), filled by two samples of rollouts: a screen of all problems, and fresh rollouts of those at an end.

The bin k = 0 of K = 10 mixes p = 0.001 with p = 0.1. So problems with k <= 1 or k >= K - 1 are rolled out F more times, and only these fresh
rollouts decide their range, since the screen selected the problems partly by chance. A problem whose fresh p-hat leaves its end, [0, 0.1) or
(0.9, 1], is dropped and counted. It does not join the middle, which only holds problems whose screen is in the middle.

So an outer range holds the first problems of the source with k at that end and fresh p-hat = f/F in the range. There are two caveats. The range
was chosen by f, so its mean p-hat is not its mean pass rate: in [0, 0.01) none of F = 100 rollouts passed, but p is about 0.3 %. And the screen
selects: a problem with p = 0.08 passes it with probability 0.81, and one with p = 0.005 with probability 0.999. Middle ranges are decided by k/K
alone, and mix more pass rates. The law of pass rates within a range accounts for all this (`paced_exp.probe.range_law`).

Families (a problem's metadata `family`) are capped: each gets at most `family_share` of a range's places. Without the cap, half of the lab's
problems in [0, 0.01) are products and a quarter are decimal chains, of which (0.99, 1] has hardly any. Then ranges would differ in the kind of
problems as much as in difficulty. A source needs 1/`family_share` families in each range for the ranges to fill up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from paced_exp.core.errors import UserError
from paced_exp.probe.binning import Filling

Side = Literal["low", "middle", "high"]
ALL = "all"  # the only group of problems if families are not capped
SCREENED = range(4, 21)  # K: with less there is no middle, and with more k = 2 belongs to an end too


@dataclass(frozen=True)
class Range:
    """Pass rates between two edges in percent. `brackets` says which edges are included. side: an end, where fresh rollouts decide, or the middle."""

    low: int
    high: int
    brackets: str
    side: Side

    def holds(self, passes: int, rollouts: int) -> bool:
        """Whether passes / rollouts lies in the range. Exact integer arithmetic."""
        at, low, high = 100 * passes, self.low * rollouts, self.high * rollouts
        return low < at < high or (at == low and self.brackets[0] == "[") or (at == high and self.brackets[1] == "]")

    @property
    def label(self) -> str:
        """The name, such as "[0, 0.01)"."""
        return f"{self.brackets[0]}{self.low / 100:g}, {self.high / 100:g}{self.brackets[1]}"


RANGES = (
    Range(0, 1, "[)", "low"),
    Range(1, 3, "[)", "low"),
    Range(3, 10, "[)", "low"),
    Range(10, 30, "[)", "middle"),
    Range(30, 50, "[)", "middle"),
    Range(50, 70, "[)", "middle"),
    Range(70, 90, "[]", "middle"),
    Range(90, 97, "(]", "high"),
    Range(97, 99, "(]", "high"),
    Range(99, 100, "(]", "high"),
)
LEAST_FRESH = 100  # with fewer, no count but zero lies below 0.01, and none falls into [0.01, 0.03) or its mirror image


def side_of(k: int, rollouts: int) -> Side:
    """The side to which the screen assigns a problem with k of K = `rollouts` passes. Raises `UserError` for a count outside [0, rollouts]."""
    if not 0 <= k <= rollouts:
        raise UserError(f"{k} passes of {rollouts} rollouts is no pass rate in [0, 1]; mend the rollouts file")
    return "low" if k <= 1 else "high" if k >= rollouts - 1 else "middle"


def ranges_of(side: Side) -> list[int]:
    """The indices in `RANGES` of a side's ranges, in order."""
    return [index for index, one in enumerate(RANGES) if one.side == side]


def range_index(side: Side, passes: int, rollouts: int) -> int | None:
    """The range of that side that contains passes / rollouts; None if none does."""
    return next((index for index in ranges_of(side) if RANGES[index].holds(passes, rollouts)), None)


def cells_of_fresh(side: Side, fresh: int) -> list[list[int]]:
    """The fresh counts of each range of an end, and in a last cell those that leave the end. Each of 0..F occurs once."""
    cells: list[list[int]] = [[] for _ in range(len(ranges_of(side)) + 1)]
    for passes in range(fresh + 1):
        index = range_index(side, passes, fresh)
        cells[-1 if index is None else ranges_of(side).index(index)].append(passes)
    return cells


@dataclass
class Ranges(Filling):
    """The ranges being filled, with `members`, `offered`, `full` and `kept` as in `paced_exp.probe.binning.Bins`.

    capacity: problems wanted in each range. rollouts: K. fresh: F. family_share: largest share of a range that one family may have.
    members[r] holds (problem id, passes), with passes of the `trials[r]` rollouts that decide there. offered[r] counts every problem that fell
    into r, kept or not. screened[group][k]: number of problems drawn. landed[group][k]: how many of those rolled out again fell into each of the
    cells of `cells_of_fresh`. outcomes[id]: (group, passes, rollouts) of a kept problem, from its screen and fresh rollouts together. Groups are
    families, or `ALL` alone if families are not capped. Given its group and k, whether a problem is rolled out again depends on its place in the
    order, and not on its p; the law of pass rates requires this.
    """

    capacity: int
    rollouts: int
    fresh: int
    family_share: float = 1.0
    members: list[list[tuple[str, int]]] = field(init=False)
    offered: list[int] = field(init=False)
    families: list[dict[str, int]] = field(init=False)
    screened: dict[str, list[int]] = field(init=False, default_factory=dict)
    landed: dict[str, dict[int, list[int]]] = field(init=False, default_factory=dict)
    outcomes: dict[str, tuple[str, int, int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.members = [[] for _ in RANGES]
        self.offered = [0] * len(RANGES)
        self.families = [{} for _ in RANGES]

    @property
    def count(self) -> int:
        """The number of ranges."""
        return len(RANGES)

    @property
    def trials(self) -> list[int]:
        """The number of rollouts behind the passes in each range: F at both ends, K in the middle."""
        return [self.rollouts if one.side == "middle" else self.fresh for one in RANGES]

    @property
    def drawn(self) -> list[int]:
        """How many of all problems drawn belong to each range; dropped ones belong to none. The middle is counted. The ends are estimated, since
        only some were rolled out again: the others with the same group and k are assumed to fall in the same proportions, or, where there are none of
        the group, in those of all groups with that k."""
        found = [float(count) if one.side == "middle" else 0.0 for one, count in zip(RANGES, self.offered, strict=True)]
        by_any: dict[int, list[int]] = {}
        for by_k in self.landed.values():
            for k, cells in by_k.items():
                by_any[k] = [one + other for one, other in zip(by_any.get(k, [0] * len(cells)), cells, strict=True)]
        for group, counts in self.screened.items():
            for k, together in by_any.items():
                cells = self.landed.get(group, {}).get(k, together)
                scale = counts[k] / sum(cells)
                for index, count in zip(ranges_of(side_of(k, self.rollouts)), cells, strict=False):  # the last cell holds dropped problems
                    found[index] += scale * count
        return [round(count) for count in found]

    def facts(self, index: int, names: Sequence[str]) -> dict[str, Any]:
        """What a record says of a range besides its estimates: its edges, and the families and outcomes of these problems in it,
        [group, passes, rollouts, problems]."""
        counted: dict[tuple[str, int, int], int] = {}
        families: dict[str, int] = {}
        for name in names:
            outcome = self.outcomes[name]
            counted[outcome] = counted.get(outcome, 0) + 1
            families[outcome[0]] = families.get(outcome[0], 0) + 1
        one = RANGES[index]
        return {
            "label": one.label,
            "low": one.low / 100,
            "high": one.high / 100,
            "side": one.side,
            "families": dict(sorted(families.items())),
            "outcomes": [[*outcome, count] for outcome, count in sorted(counted.items())],
        }

    @property
    def cap(self) -> int:
        """The largest number of problems of one family in a range."""
        return max(1, round(self.family_share * self.capacity))

    def group(self, family: str) -> str:
        """The group of a family, which has one law of pass rates."""
        return family if self.family_share < 1 else ALL

    def screen(self, problem_id: str, family: str, k: int) -> bool:
        """Count a screened problem, and put one in the middle into its range. Returns whether it was kept."""
        group = self.group(family)
        self.screened.setdefault(group, [0] * (self.rollouts + 1))[k] += 1
        if side_of(k, self.rollouts) != "middle":
            return False
        index = range_index("middle", k, self.rollouts)
        assert index is not None, "2 <= k <= K - 2 is within 0.1 to 0.9 for K up to 20"
        return self._offer(index, problem_id, group, k, (group, k, self.rollouts))

    def wants(self, family: str, k: int) -> bool:
        """Whether to roll out a problem with k passes at an end again, since some range there has room for its family."""
        group, side = self.group(family), side_of(k, self.rollouts)
        return side != "middle" and any(self._room(index, group) for index in ranges_of(side))

    def settle(self, problem_id: str, family: str, k: int, fresh_passes: int) -> bool:
        """Put a problem of an end into the range of its fresh passes, or count it as dropped. Returns whether it was kept."""
        group, side = self.group(family), side_of(k, self.rollouts)
        index, own = range_index(side, fresh_passes, self.fresh), ranges_of(side)
        counted = self.landed.setdefault(group, {}).setdefault(k, [0] * (len(own) + 1))
        counted[-1 if index is None else own.index(index)] += 1
        if index is None:
            return False
        return self._offer(index, problem_id, group, fresh_passes, (group, k + fresh_passes, self.rollouts + self.fresh))

    def _room(self, index: int, group: str) -> bool:
        return len(self.members[index]) < self.capacity and (group == ALL or self.families[index].get(group, 0) < self.cap)

    def _offer(self, index: int, problem_id: str, group: str, passes: int, outcome: tuple[str, int, int]) -> bool:
        self.offered[index] += 1
        if not self._room(index, group):
            return False
        self.members[index].append((problem_id, passes))
        self.families[index][group] = self.families[index].get(group, 0) + 1
        self.outcomes[problem_id] = outcome
        return True

    @property
    def reachable(self) -> list[int]:
        """Ranges that some count falls into. With few rollouts, a middle range may always stay empty."""
        middle = {range_index("middle", k, self.rollouts) for k in range(2, self.rollouts - 1)}
        return [index for index, one in enumerate(RANGES) if one.side != "middle" or index in middle]

    def dropped(self, side: Side) -> int:
        """Number of problems of an end that left it when they were rolled out again."""
        return sum(cells[-1] for by_k in self.landed.values() for k, cells in by_k.items() if side_of(k, self.rollouts) == side)

    def again(self, side: Side) -> int:
        """Number of problems of an end that were rolled out again."""
        return sum(sum(cells) for by_k in self.landed.values() for k, cells in by_k.items() if side_of(k, self.rollouts) == side)
