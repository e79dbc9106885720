"""Segments of a run: stretches of updates with one stage and one set of weights; and which problem each update trains on.

Every choice is a function of the update's number and the seed, so that processes, restarts and methods agree: an epoch is one permutation
of all problems, the same for every method, in which problems of weight zero are passed over unless the accounting is `as-published`.
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
    """Updates start .. end-1, all of one stage. recompute: pass rates are rolled out again at its start, by the student as it is then."""

    start: int
    end: int
    stage: Stage
    recompute: bool


def parse_recompute(text: str) -> int | None:
    """The N of "every N updates"; None for `never` and `stages`. Raises `UserError` for anything else."""
    if text in ("never", "stages"):
        return None
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise UserError(f"`recompute` {text} is not known; known: never, stages (at their boundaries), or a number of updates of at least 1")


def make_segments(stages: list[Stage], steps: int, recompute: str) -> list[Segment]:
    """The segments of a run of `steps` updates: cut at stage boundaries and, for a number, every so many updates.

    Raises `UserError` for fewer than one update and for a stage that gets none.
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

    batch: problems an update. weight_by: `loss`: the problems in the order of the permutations, weighted in the loss; `sampling`: problems drawn
    in proportion to their weights, each with weight one in the loss. regime: `one-pass` visits no problem twice; `multi-pass` begins again.
    accounting: `equal-updates` passes over problems of weight zero; `as-published` leaves them in the batch, where they have no loss.
    """

    batch: int
    weight_by: str = "loss"
    regime: str = "multi-pass"
    accounting: str = "equal-updates"


@dataclass(frozen=True)
class Plan:
    """The problems that a segment trains on.

    indices (updates x batch,): in the order in which they are trained on. weights (problems,): of each problem in the loss. cursor: where in
    the stream of permutations the next segment goes on.
    """

    indices: np.ndarray
    weights: np.ndarray
    cursor: int


def make_plan(segment: Segment, weights: Weights, passing: Passing, seed: int, cursor: int, usable: np.ndarray | None = None) -> Plan:
    """The plan of `segment`.

    usable (problems,): whether a problem can be trained on at all; all can where it is None. A problem of positive weight must be usable.
    Raises `UserError` where one pass does not suffice, naming how many more problems it takes.
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
        # Past the last problem taken; an epoch that is used up is left for the next one.
        cursor += int(chosen[-1]) + 1 if len(indices) == size else len(order)
    # In the loss, weights have mean one over what the batches are drawn from.
    scale = kept.sum() / count
    return Plan(np.array(indices), weights.values * scale, cursor)


def _too_few(size: int, found: int, kept: int, count: int, segment: Segment) -> UserError:
    more = math.ceil((size - found) * count / kept)
    return UserError(
        f"`regime` one-pass: updates {segment.start + 1} to {segment.end} need {size} problems that were not visited before, and {found} are left "
        f"of the {kept} that can be trained on among {count}; at that share {more} more `problems` are needed: raise `limit`, lower `steps`, or "
        "take `regime` multi-pass"
    )
