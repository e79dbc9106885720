"""Stages of a training: each has a divergence, the responses it is taken on, and a share of the updates. PACED has `forward_kl:0.5,reverse_kl:0.5`."""

import math
from dataclasses import dataclass
from typing import get_args

from paced_exp.core.errors import UserError
from paced_exp.losses.divergences import DIVERGENCES, Source


@dataclass(frozen=True)
class Stage:
    """One stage: the divergence's name, the responses it is taken on (references or the student's rollouts), and its share of the updates."""

    divergence: str
    source: Source
    fraction: float

    @property
    def name(self) -> str:
        """The stage as the user writes it, without its share."""
        return f"{self.divergence}@{self.source}"


def parse_stages(text: str) -> list[Stage]:
    """Parse `DIVERGENCE[@references|@rollouts][:FRACTION],...`. A single stage needs no fraction.

    >>> [(s.name, s.fraction) for s in parse_stages("forward_kl:0.5,reverse_kl:0.5")]
    [('forward_kl@references', 0.5), ('reverse_kl@rollouts', 0.5)]

    Raises `UserError` for an unknown divergence or source, and for fractions that do not sum to one.
    """
    parts = [part.strip() for part in text.split(",")]
    stages = [_parse(part, text, alone=len(parts) == 1) for part in parts]
    total = math.fsum(stage.fraction for stage in stages)
    if abs(total - 1) > 1e-9:
        raise UserError(f"`stages` {text}: the fractions must sum to 1, got {total:g}")
    return stages


def _parse(part: str, text: str, alone: bool) -> Stage:
    head, colon, number = part.partition(":")
    name, at, source = head.partition("@")
    if name not in DIVERGENCES:
        raise UserError(f"`stages` {text}: divergence {name!r} is not known; known: {', '.join(DIVERGENCES)}")
    if at and source not in get_args(Source):
        raise UserError(f"`stages` {text}: source {source!r} is not known; known: {', '.join(get_args(Source))}")
    if source == "rollouts" and not DIVERGENCES[name].suits_rollouts:
        raise UserError(f"`stages` {text}: {name} on the student's own rollouts teaches it nothing; take {name}@references")
    if not colon and not alone:
        raise UserError(f"`stages` {text}: {part!r} has no fraction; write {part}:FRACTION, the fractions summing to 1")
    try:
        fraction = float(number) if colon else 1.0
    except ValueError:
        fraction = math.nan
    if not 0 < fraction <= 1:
        raise UserError(f"`stages` {text}: fraction {number!r} of {head} must be a number above 0 and at most 1")
    found = next((known for known in get_args(Source) if known == source), DIVERGENCES[name].default_source)
    return Stage(name, found, fraction)


def stage_ends(stages: list[Stage], steps: int) -> list[int]:
    """The update at which each stage ends: its cumulative fraction of `steps`, rounded. Raises `UserError` if a stage gets no update."""
    shares = [math.fsum(stage.fraction for stage in stages[: index + 1]) for index in range(len(stages))]
    ends = [round(share * steps) for share in shares]
    for stage, start, end in zip(stages, [0, *ends[:-1]], ends, strict=True):
        if end == start:
            raise UserError(
                f"`stages`: {stage.name} gets {stage.fraction:g} of {steps} updates, which rounds to none; raise `steps` or its fraction"
            )
    return ends
