"""Applying the rules of docs/protocol.md and docs/protocol-v2.md: from records to the verdict on every claim of a scale, alone and corrected."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paced_exp.reproduce.c1 import probe_findings, range_findings
from paced_exp.reproduce.claims import Claim, Contrast, Hypothesis
from paced_exp.reproduce.findings import LEVEL, Finding, Outcome, Size, p_equivalent
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.measures import are_measured, common_seeds, row_named, strata_of
from paced_exp.reproduce.planned import planned_effects
from paced_exp.reproduce.protocols import claims_at
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.reported_effects import ReportedEffect, reported_effect
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.significance import Estimate, crossed, holm, ratio_interval

LEAST_SEEDS = 3


def outcomes(results: Results, scale: Scale) -> list[Outcome]:
    """Every claim at a scale, its p-values adjusted together. Raises `UserError` for a record that is damaged.

    The hypotheses that are adjusted for are those that the scale asks by its declaration, whatever records there are: one that cannot be decided yet counts with
    p = 1, which can only make the others' adjusted p-values larger. Exploratory ones are not among them.
    """
    claims = claims_at(scale)
    hypotheses = [hypothesis for claim in claims for hypothesis in claim.hypotheses]
    sized, asked = ({one.name for one in hypotheses if holds(one)} for holds in (is_sized, is_asked))
    found = [(claim, finding) for claim in claims for finding in _findings(results, scale, claim)]
    family = [finding for _, finding in found if finding.primary]
    first_step = LEVEL / len(family)
    adjusted = _adjusted(family, lambda finding: True, lambda finding: finding.p)
    smaller = _adjusted(family, lambda finding: finding.hypothesis in sized, lambda finding: finding.size.p if finding.size else None)
    equivalent = _adjusted(family, lambda finding: finding.hypothesis in asked, lambda finding: finding.p_equivalent)
    planned = planned_effects(results.folder, scale)
    judged = [
        (
            claim,
            replace(
                finding,
                holm=None if finding.p is None else adjusted.get(finding.hypothesis),
                seen=None if finding.estimate is None else finding.estimate.detectable(LEVEL),
                seen_holm=None if finding.estimate is None or not finding.primary else finding.estimate.detectable(first_step),
                size=None if finding.size is None else replace(finding.size, holm=smaller.get(finding.hypothesis)),
                holm_equivalent=None if finding.p_equivalent is None else equivalent.get(finding.hypothesis),
                planned=planned.get(finding.hypothesis, {}).get("alone"),
                planned_holm=planned.get(finding.hypothesis, {}).get("corrected"),
            ),
        )
        for claim, finding in found
    ]
    return [Outcome(claim, tuple(finding for other, finding in judged if other is claim)) for claim in claims]


def findings_by_name(results: Path, scale: Scale) -> dict[str, Finding]:
    """Every finding of a scale by its hypothesis, such as C1.step1.low: for pages that print a verdict, `raw_verdict` beside `verdict`."""
    return {finding.hypothesis: finding for outcome in outcomes(Results(results), scale) for finding in outcome.findings}


def _adjusted(found: Sequence[Finding], asked: Callable[[Finding], bool], p_of: Callable[[Finding], float | None]) -> dict[str, float]:
    """Holm's p-values of one question over all hypotheses that are asked it."""
    family = [finding for finding in found if asked(finding)]
    p_values = [1.0 if finding.missing or (p := p_of(finding)) is None else p for finding in family]
    return dict(zip((finding.hypothesis for finding in family), holm(p_values), strict=True))


def _findings(results: Results, scale: Scale, claim: Claim) -> list[Finding]:
    if claim.id == "C1":
        return range_findings(results.folder, scale, claim.hypotheses) if claim.hypotheses else probe_findings(results.folder, scale)
    return [finding_of(hypothesis, results, scale) for hypothesis in claim.hypotheses]


@dataclass(frozen=True)
class _Measurement:
    """A contrast's differences: terms over the seeds that its rows share, and what came of them."""

    contrast: Contrast
    strata: list[np.ndarray]
    estimate: Estimate
    seeds: list[int]
    records: list[Path]
    lacking: str  # which planned seeds are not there, in words


def finding_of(hypothesis: Hypothesis, results: Results, scale: Scale) -> Finding:
    """What the records say about a hypothesis: all contrasts together, by intersection and union. Nothing is adjusted yet."""
    measured: list[_Measurement] = []
    for contrast in hypothesis.contrasts:
        found = _measure(contrast, results, scale)
        if isinstance(found, str):
            return Finding(hypothesis.name, hypothesis.words, "points", missing=found, primary=hypothesis.primary)
        measured.append(found)
    estimates = [found.estimate for found in measured]
    claimed = max(estimate.p_greater for estimate in estimates)
    opposite = min(1.0, min(estimate.p_less for estimate in estimates) * len(estimates))
    # Of several contrasts the one that is least greater than zero decides: the weakest link of the claim, the strongest evidence against.
    decisive = max(measured, key=lambda found: found.estimate.p_greater)
    shown = decisive.estimate
    problems = sum(part.shape[1] for part in measured[0].strata)
    return Finding(
        hypothesis.name,
        hypothesis.words,
        "points",
        shown.value,
        shown.low,
        shown.high,
        min(1.0, 2 * min(claimed, opposite)),
        claimed <= opposite,
        f"{min(len(found.seeds) for found in measured)} seeds × {problems} problems",
        "; ".join(dict.fromkeys(found.lacking for found in measured if found.lacking)),
        estimate=shown,
        size=_size(measured, results, scale) if is_sized(hypothesis) else None,
        p_equivalent=min(1.0, max(p_equivalent(estimate) for estimate in estimates)) if is_asked(hypothesis) else None,
        records=tuple(dict.fromkeys(path for found in measured for path in found.records)),
        command=" && ".join(
            dict.fromkeys(
                f"python -m paced_exp.reproduce --scale {scale.name} --table {table}"
                for contrast in hypothesis.contrasts
                for table in contrast.tables
            )
        ),
        primary=hypothesis.primary,
        margin=decisive.contrast.margin,
        against=_against(decisive.contrast) if len(measured) > 1 else "",
    )


def _against(contrast: Contrast) -> str:
    """The label of the row that is subtracted last."""
    _, table, name = contrast.placed[-1]
    (label,) = (row.label for row in BY_NAME[table].rows if row.name == name)
    return label


def _measure(contrast: Contrast, results: Results, scale: Scale) -> _Measurement | str:
    """The contrast over the planned seeds that its rows share, or why there is none."""
    planned = contrast.planned_seeds(scale)
    rows = {
        f"{table}/{name}": row_named(results, scale, table, name).among(scale.seed_range(planned)) for _, table, name in contrast.placed
    }
    if empty := [name for name, measured in rows.items() if not measured.records]:
        return f"not run: {', '.join(empty)}"
    seeds = common_seeds(list(rows.values()))
    lacking = [
        f"{name} lacks seed {', '.join(map(str, gone))}"
        for name, measured in rows.items()
        if not measured.untrained and (gone := sorted(set(scale.seed_range(planned)) - set(measured.seeds)))
    ]
    words = f"{len(seeds)} of {planned} planned seeds: {'; '.join(lacking)}" if lacking else ""
    if len(seeds) < LEAST_SEEDS:
        return f"{words}; {LEAST_SEEDS} are needed" if words else f"{len(seeds)} planned seeds, {LEAST_SEEDS} are needed"
    sources = contrast.sources(scale)
    if not are_measured(list(rows.values()), sources, seeds, contrast.of_problem):
        return f"{contrast.measure} cannot be measured with the samples of {', '.join(rows)}"
    terms = [(factor, rows[f"{table}/{name}"]) for factor, table, name in contrast.placed]
    strata = strata_of(terms, sources, seeds, contrast.of_problem)
    paths = [measured.of(seed).path for measured in rows.values() for seed in seeds]
    return _Measurement(contrast, strata, crossed(strata).shifted(contrast.margin), seeds, paths, words)


def _size(measured: Sequence[_Measurement], results: Results, scale: Scale) -> Size | None:
    """The effect against the paper's, of the contrast that falls shortest of it; None without the base, or where uniform does not gain."""
    sizes = [_size_of(found, effect, results, scale) for found in measured if (effect := reported_effect(found.contrast)) is not None]
    known = [size for size in sizes if size is not None]
    if not known or len(known) < len(measured):
        return None
    shortest = min(known, key=lambda size: size.p)
    return replace(shortest, p=min(1.0, shortest.p * len(known)))


def _size_of(found: _Measurement, effect: ReportedEffect, results: Results, scale: Scale) -> Size | None:
    uniform, base = (row_named(results, scale, *place) for place in (effect.uniform, effect.base))
    if not base.records or not set(found.seeds) <= set(uniform.seeds):
        return None
    gains = strata_of([(1.0, uniform), (-1.0, base)], found.contrast.sources(scale), found.seeds)
    gain = crossed(gains)
    if gain.low <= 0:  # nothing to be a share of
        return None
    low, high = ratio_interval(found.strata, gains)
    # Fieller: ours is smaller than the paper's share s where the mean of difference - s gain is below zero; the paper's own error is added.
    short = crossed([top - effect.share * bottom for top, bottom in zip(found.strata, gains, strict=True)])
    short = short._replace(error=float(np.hypot(short.error, effect.error * gain.value)))
    value = crossed(found.strata).value / gain.value
    return Size(value, low, high, gain.value, effect.share, effect.error, effect.points, min(1.0, 2 * short.p_less))


def is_sized(hypothesis: Hypothesis) -> bool:
    """Whether its size is asked for: the paper prints every effect of it. Fixed by the paper's numbers, whatever records there are."""
    return bool(hypothesis.contrasts) and all(reported_effect(contrast) is not None for contrast in hypothesis.contrasts)


def is_asked(hypothesis: Hypothesis) -> bool:
    """Whether it is asked if it lies within a point. A margin makes "no worse by a point" the claim itself."""
    return bool(hypothesis.contrasts) and not any(contrast.margin for contrast in hypothesis.contrasts)
