"""Fills the ranges: screens all problems with K rollouts, and rolls those at an end out again while a range there has room.

Resumes from the run's two journals, rollouts.jsonl and fresh_rollouts.jsonl. Which problems are rolled out again only depends on the source's order
and the counts, so a resumed run chooses the same ones.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.core.progress import progress
from paced_exp.core.run_folder import RunFolder
from paced_exp.data.problem import Problem
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import LoadedModel
from paced_exp.probe.config import ProbeConfig
from paced_exp.probe.earlier import EarlierRun
from paced_exp.probe.measurement import ROUND
from paced_exp.probe.ranges import RANGES, Ranges, side_of
from paced_exp.probe.rolling import Roller, save_kept, screening
from paced_exp.rollouts.engines import Engines

FRESH_ROUND = 64  # problems rolled out again at a time; after each chunk, the ranges are checked


def with_families(problems: Iterator[Problem], config: ProbeConfig) -> Iterator[Problem]:
    """The problems. Raises `UserError` at the first one without a family, if `family_share` needs it."""
    for problem in problems:
        if config.family_share < 1 and not isinstance(problem.metadata.get("family"), str):
            raise UserError(
                f"`family_share` {config.family_share} needs the family of every problem, and {problem.id!r} of {problem.source} has none "
                "(metadata, or a column, `family`); leave the option out, or name the families"
            )
        yield problem


def _family(problem: Problem) -> str:
    return str(problem.metadata.get("family", ""))


def fill_ranges(
    config: ProbeConfig,
    run: RunFolder,
    source: Iterator[Problem],
    student: LoadedModel,
    grader: Grader,
    engines: Engines,
    earlier: EarlierRun | None = None,
) -> tuple[Ranges, dict[str, Problem], dict[str, Any]]:
    """Screen problems in the source's order, and roll those at the ends out again, until every range is full, the budget of screened
    problems is spent, or the source ends.

    Returns the ranges, the kept problems by id, and a summary of the rollouts for the record.
    """
    engine = engines.of(student)
    ranges = Ranges(config.per_bin, config.K, config.fresh_rollouts, config.family_share)
    problems: dict[str, Problem] = {}
    source = itertools.islice(source, config.max_problems)
    first = screening(config)
    # Neither the screen, nor references, nor responses of the student use this seed.
    again = replace(first, samples=config.fresh_rollouts, seed=config.seed + 3)
    with progress(None, "rollouts", "rollouts") as bar:
        screen = Roller(run, "rollouts", first, student, engine, grader, bar, None if earlier is None else earlier.give_rollouts)
        fresh = Roller(run, "fresh_rollouts", again, student, engine, grader, bar, None if earlier is None else earlier.give_fresh)
        while not ranges.full:
            chunk = list(itertools.islice(source, ROUND))
            if not chunk:
                break
            screen.roll(chunk)
            for problem in chunk:
                if ranges.screen(problem.id, _family(problem), screen.passes[problem.id]):
                    problems[problem.id] = problem
            ends = iter([problem for problem in chunk if side_of(screen.passes[problem.id], config.K) != "middle"])
            while batch := list(
                itertools.islice((one for one in ends if ranges.wants(_family(one), screen.passes[one.id])), FRESH_ROUND)
            ):  # fmt: skip
                fresh.roll(batch)
                for problem in batch:
                    if ranges.settle(problem.id, _family(problem), screen.passes[problem.id], fresh.passes[problem.id]):
                        problems[problem.id] = problem
                least = min(len(ranges.members[index]) for index in ranges.reachable)
                bar.set_postfix(drawn=len(screen.order), again=len(fresh.order), kept=ranges.kept, emptiest=least)
    save_kept(config, run, problems)
    screen.finish("pass_rates.parquet", warn=True)
    if fresh.order:
        fresh.finish("fresh_pass_rates.parquet")
    return ranges, problems, _summary(config, ranges, screen, fresh)


def _summary(config: ProbeConfig, ranges: Ranges, screen: Roller, fresh: Roller) -> dict[str, Any]:
    drawn, again = len(screen.order), len(fresh.order)
    return {
        "problems_drawn": drawn,
        "rollouts": drawn * config.K + again * config.fresh_rollouts,
        "offered": ranges.offered,
        "kept": [len(members) for members in ranges.members],
        "full": ranges.full,
        "mean_pass_rate": sum(screen.passes[name] for name in screen.order) / (drawn * config.K),
        "ranges": [one.label for one in RANGES],
        # For each end: problems whose screen is there, how many were rolled out again, and how many of these left the end and were dropped.
        "fresh": {
            side: {
                "screened": sum(
                    count for by_k in ranges.screened.values() for k, count in enumerate(by_k) if side_of(k, config.K) == side
                ),
                "rolled_out": ranges.again(side),
                "dropped": ranges.dropped(side),
            }
            for side in ("low", "high")
        },
        "screened": ranges.screened,
        "landed": {group: {str(k): cells for k, cells in sorted(by_k.items())} for group, by_k in ranges.landed.items()},
        "families": ranges.families,
    }  # fmt: skip
