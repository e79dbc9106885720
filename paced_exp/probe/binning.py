"""Pass-rate bins filled to the same number of problems.

Problems are drawn from the source in its order, rolled out K times, and put into the bin of p-hat = k/K until this bin is full or the budget is
spent. Which problems a bin keeps only depends on p-hat and the order of the draw. So they are an unbiased sample of the source's problems with
that p-hat.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from paced_exp.core.errors import UserError


def bin_index(passes: int, rollouts: int, bins: int) -> int:
    """The equal-width bin of p-hat = passes / rollouts: floor(p-hat * bins), with 1 in the last bin. Exact integer arithmetic.

    K = 10 rollouts and 11 bins give one bin to every value that p-hat can take. Raises `UserError` for a count outside [0, rollouts].
    """
    if not 0 <= passes <= rollouts:
        raise UserError(f"{passes} passes of {rollouts} rollouts is no pass rate in [0, 1]; mend the rollouts file")
    return min(passes * bins // rollouts, bins - 1)


class Filling(ABC):
    """Bins that are filled up to `capacity` problems each. members[b] holds (problem id, passes)."""

    capacity: int
    members: list[list[tuple[str, int]]]

    @property
    @abstractmethod
    def reachable(self) -> list[int]:
        """Bins that some number of passes falls into; the others stay empty."""

    @property
    def full(self) -> bool:
        """Whether every reachable bin is full."""
        return all(len(self.members[index]) >= self.capacity for index in self.reachable)

    @property
    def kept(self) -> int:
        """Number of problems kept in all bins."""
        return sum(len(members) for members in self.members)


@dataclass
class Bins(Filling):
    """The bins being filled. members[b] holds (problem id, passes); offered[b] counts every problem that fell into b, kept or not."""

    count: int
    capacity: int
    rollouts: int
    members: list[list[tuple[str, int]]] = field(init=False)
    offered: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.members = [[] for _ in range(self.count)]
        self.offered = [0] * self.count

    def offer(self, problem_id: str, passes: int) -> bool:
        """Put a problem into its bin unless the bin is full. Returns whether it was kept."""
        index = bin_index(passes, self.rollouts, self.count)
        self.offered[index] += 1
        if len(self.members[index]) >= self.capacity:
            return False
        self.members[index].append((problem_id, passes))
        return True

    @property
    def trials(self) -> list[int]:
        """The number of rollouts behind the passes in each bin."""
        return [self.rollouts] * self.count

    @property
    def drawn(self) -> list[int]:
        """How many of all problems drawn belong to each bin."""
        return list(self.offered)

    def facts(self, index: int, names: Sequence[str]) -> None:
        """What a record says of a bin besides its estimates: nothing, unless it is a range (`paced_exp.probe.ranges`)."""
        return None

    @property
    def reachable(self) -> list[int]:
        """Bins that some k/K falls into. With fewer rollouts than bins, the others stay empty."""
        return sorted({bin_index(k, self.rollouts, self.count) for k in range(self.rollouts + 1)})
