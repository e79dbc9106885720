"""Segments of a run, which are ranges of updates with one stage and one set of weights; and the problems that each update trains on.

Every choice depends only on the update's number and the seed, so that processes, restarts and methods agree. An epoch is one permutation of
all problems, the same for every method. Problems of weight zero are skipped, unless the accounting is `as-published`.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.training.stages import Stage, stage_ends
from paced_exp.weighting import Weights, sample_in_proportion


@dataclass(frozen=True)
class Segment:
    """Updates start .. end-1, all of one stage. recompute: whether pass rates of the current student are measured at the start."""

    start: int
    end: int
    stage: Stage
    recompute: bool


def parse_recompute(text: str) -> int | None:
    """The number of updates in `text`; None for `never` and `stages`. Raises `UserError` for anything else."""
    if text in ("never", "stages"):
        return None
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise UserError(f"`recompute` {text} is not known; known: never, stages (where a new stage begins), or a number of updates, at least 1")


def make_segments(stages: list[Stage], steps: int, recompute: str) -> list[Segment]:
    """The segments of a run of `steps` updates. A new one begins with each stage and, if `recompute` is a number, every so many updates.

    Raises `UserError` for fewer than one update, and if a stage gets none.
    """
    if steps < 1:
        raise UserError(f"`steps` {steps} must be at least 1")
    every = parse_recompute(recompute)
    ends = stage_ends(stages, steps)
    cuts = sorted({0, *ends, *(range(0, steps, every) if every else ())})
    segments = []
    for start, end in itertools.pairwise(cuts):
        stage = stages[next(index for index, stage_end in enumerate(ends) if start < stage_end)]
        again = start > 0 and recompute != "never" and (every is None or start % every == 0)
        segments.append(Segment(start, end, stage, again))
    return segments


@dataclass(frozen=True)
class Passing:
    """How updates pass over the problems.

    batch: problems per update. weight_by: `loss` takes problems in the order of the permutations and weights them in the loss; `sampling` draws
    them in proportion to their weights and gives each the weight one in the loss. regime: `one-pass` visits no problem twice; `multi-pass` starts
    over. accounting: `equal-updates` skips problems of weight zero; `as-published` keeps them in the batch, without a loss.
    """

    batch: int
    weight_by: str = "loss"
    regime: str = "multi-pass"
    accounting: str = "equal-updates"


@dataclass(frozen=True)
class Plan:
    """The problems that a segment trains on.

    indices (updates x batch,): the problems, in training order. weights (problems,): of each problem in the loss. cursor: position in the
    stream of permutations at which the next segment goes on.
    """

    indices: np.ndarray
    weights: np.ndarray
    cursor: int


def make_plan(segment: Segment, weights: Weights, passing: Passing, seed: int, cursor: int, usable: np.ndarray | None = None) -> Plan:
    """The plan of `segment`.

    usable (problems,): whether each problem can be trained on; None if all can. Problems of positive weight must be usable.
    Raises `UserError` if one pass has too few problems, and says how many more are needed.
    """
    size = (segment.end - segment.start) * passing.batch
    count = len(weights.values)
    if passing.weight_by == "sampling":
        rng = np.random.default_rng([seed, 2, segment.start])
        return Plan(sample_in_proportion(weights, size, rng), np.ones(count), cursor)
    kept = weights.values > 0
    if passing.accounting == "as-published":
        kept = np.ones(count, dtype=bool) if usable is None else usable
    indices: list[int] = []
    while len(indices) < size:
        epoch, offset = divmod(cursor, count)
        if passing.regime == "one-pass" and epoch > 0:
            raise _too_few(size, len(indices), int(kept.sum()), count, segment)
        order = np.random.default_rng([seed, 1, epoch]).permutation(count)[offset:]
        chosen = np.flatnonzero(kept[order])[: size - len(indices)]
        indices += order[chosen].tolist()
        # Move past the last problem taken, or to the next epoch if this one is used up.
        cursor += int(chosen[-1]) + 1 if len(indices) == size else len(order)
    # In the loss, weights have mean one over the problems that batches are drawn from.
    scale = kept.sum() / count
    return Plan(np.array(indices), weights.values * scale, cursor)


def unvisited(count: int, seed: int, cursor: int) -> np.ndarray:
    """The problems that one pass over `count` problems has not reached at `cursor`, in the order in which it visits them."""
    return np.random.default_rng([seed, 1, 0]).permutation(count)[cursor:]


def _too_few(size: int, found: int, kept: int, count: int, segment: Segment) -> UserError:
    more = math.ceil((size - found) * count / kept)
    return UserError(
        f"`regime` one-pass: updates {segment.start + 1} to {segment.end} need {size} unvisited problems, but {found} are left "
        f"of the {kept} usable ones among {count}; about {more} more `problems` are needed: raise `limit`, lower `steps`, or "
        "take `regime` multi-pass"
    )
