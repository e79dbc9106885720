"""Which rollouts share a row of the batch: those of one prompt that have drawn the same tokens so far.

Their keys, values and next logits are equal, so one row serves them all until their draws differ. A rollout still draws from its own stream
(`sampling`), so sharing changes no draw. It saves most where a model is sure of its next tokens: of the lab's student's 16 rollouts of a
problem it leaves one row in five.

All of this is bookkeeping of a few hundred small numbers a step. It is done in numpy, since a call of torch costs more than the work.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Move:
    """How the rows of a batch become the rows of the next step: row r continues the old row `sources[r]` with token `tokens[r]`.

    finished, sampled: the rollouts that ended and the tokens that were drawn, less those of prompts that were parked.
    """

    sources: np.ndarray
    tokens: np.ndarray
    finished: int
    sampled: int

    def within(self, rows: int) -> bool:
        """Whether the old batch of `rows` rows stays as it is."""
        return len(self.sources) == rows and bool((self.sources == np.arange(rows)).all())


class Branches:
    """The live rollouts of a batch of prompts, and their rows.

    Rollout i answers prompt i // samples. At first all rollouts of prompt r are in row r. If they would need more than `capacity` rows, the
    last prompts of the batch are parked: they leave it, and must be rolled out again from their beginning.

    prompts: of the batch. samples: rollouts of each. limit: the largest number of tokens of a rollout. capacity: at least `samples` and
    `prompts`. eos: ids that end a rollout. vocabulary: larger than any id.
    """

    def __init__(self, prompts: int, samples: int, limit: int, *, capacity: int, eos: tuple[int, ...], vocabulary: int) -> None:
        if capacity < max(prompts, samples):
            raise ValueError(f"capacity {capacity} must be at least the number of prompts {prompts} and of samples {samples}")
        self._samples, self._limit, self._capacity = samples, limit, capacity
        self._eos, self._vocabulary = np.array(eos), vocabulary
        self._written = np.empty((prompts * samples, limit), dtype=np.int32)
        self._lengths = np.zeros(prompts * samples, dtype=np.int64)
        self._parked = np.zeros(prompts, dtype=bool)
        self.step = 0  # the number of tokens that every live rollout has drawn
        self.peak = 1.0  # the largest number of rows that were needed at once for a prompt, on average
        self.live = np.arange(prompts * samples)  # the rollouts that go on, ordered by row
        self._row = self.live // samples  # of each live rollout
        self.owners = np.arange(prompts)  # the prompt of each row

    def spread(self, numbers: np.ndarray) -> np.ndarray:
        """`numbers` (live rollouts,) in a table (rows, largest number of rollouts in a row); unused cells are zero."""
        place = self._places()
        table = np.zeros((len(self.owners), int(place.max()) + 1), dtype=numbers.dtype)
        table[self._row, place] = numbers
        return table

    def advance(self, drawn: np.ndarray) -> Move:
        """Append the token that every live rollout drew. Returns the rows of the next step, which are none once all rollouts have ended.

        drawn: laid out as in `spread`, or (rows, 1) if all rollouts of a row drew the same. Rollouts end with an eos token or at the limit.
        """
        tokens = drawn[self._row, self._places()] if drawn.shape[1] > 1 else drawn[self._row, 0]
        self._written[self.live, self.step] = tokens
        self.step += 1
        self._lengths[self.live] = self.step
        going = ~np.isin(tokens, self._eos) if self.step < self._limit else np.zeros(len(tokens), dtype=bool)
        finished, sampled = len(tokens) - int(going.sum()), len(tokens)
        rows, row, sources, continued = self._branch(going, tokens)
        self.peak = max(self.peak, rows / int((~self._parked).sum()))
        if rows > self._capacity:
            ended, lost = self._park(np.bincount(self.owners[sources], minlength=len(self._parked)), self.live[going])
            going &= ~self._parked[self.live // self._samples]
            finished, sampled = finished - ended, sampled - lost
            _, row, sources, continued = self._branch(going, tokens)
        by_row = np.argsort(row, kind="stable")
        self.live, self._row = self.live[going][by_row], row[by_row]
        self.owners = self.owners[sources]
        return Move(sources, continued, finished, sampled)

    def responses(self) -> list[list[list[int]] | None]:
        """The tokens of each prompt's rollouts; None for a parked prompt."""
        ids = [row[:length].tolist() for row, length in zip(self._written, self._lengths, strict=True)]
        groups = [ids[start : start + self._samples] for start in range(0, len(ids), self._samples)]
        return [None if parked else group for group, parked in zip(groups, self._parked, strict=True)]

    def _branch(self, going: np.ndarray, tokens: np.ndarray) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
        """The rows of the rollouts that go on: their number, the row of each such rollout, and the source and the token of each row."""
        branches, branch = np.unique(self._row[going] * self._vocabulary + tokens[going], return_inverse=True)
        sources, continued = np.divmod(branches, self._vocabulary)
        rows = _rows(sources)
        order = np.argsort(rows)
        return len(rows), rows[branch], sources[order], continued[order]

    def _park(self, rows: np.ndarray, going: np.ndarray) -> tuple[int, int]:
        """Park the last prompts, so that the rest fits. Returns what is lost: the number of rollouts that had ended, and of tokens.

        rows (prompts,): that each prompt needs. going: the rollouts that would go on.
        """
        parked = (np.cumsum(rows) > self._capacity) & (rows > 0)
        self._parked |= parked
        lost = np.repeat(parked, self._samples)
        tokens = int(self._lengths[lost].sum())
        lost[going] = False
        return int(lost.sum()), tokens

    def _places(self) -> np.ndarray:
        """The place of each live rollout among those of its row."""
        starts = np.searchsorted(self._row, np.arange(len(self.owners)))
        return np.arange(len(self._row)) - starts[self._row]


def _rows(sources: np.ndarray) -> np.ndarray:
    """The row of each branch in the next batch; sources (branches,) ascending: the row that it continues.

    The first branch of a row stays in it, as far as the next batch reaches. The others fill the rows that are left over.

    >>> _rows(np.array([0, 0, 2, 4])).tolist()
    [0, 1, 2, 3]
    """
    count = len(sources)
    first = np.ones(count, dtype=bool)
    first[1:] = sources[1:] != sources[:-1]
    stays = first & (sources < count)
    rows = np.where(stays, sources, 0)
    free = np.ones(count, dtype=bool)
    free[sources[stays]] = False
    rows[~stays] = np.flatnonzero(free)
    return rows
