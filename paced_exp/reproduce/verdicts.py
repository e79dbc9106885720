"""Applying the rule of docs/protocol.md: from records to one of replicates, does not replicate, not decided, for every claim of a scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from scipy.stats import norm

from paced_exp.reproduce.cells import planned_seeds
from paced_exp.reproduce.claims import CLAIMS, Claim, Contrast, Hypothesis
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.measures import combined, common_seeds, row_named
from paced_exp.reproduce.probes import Probe, probe_command, probes_of
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.statistics import Estimate, holm

Verdict = Literal["replicates", "does not replicate", "not decided"]

LEVEL = 0.05
LEAST_SEEDS = 3


@dataclass(frozen=True)
class Finding:
    """A hypothesis with what was measured.

    value, low, high: of the contrast that decides, margin included, with its 95 % interval; None where it was not run. unit: theirs. p:
    two-sided; holm: the same adjusted over the scale. towards: whether the evidence is in the claimed direction. n: seeds and problems,
    or the probe's. missing: why nothing can be decided, if so. records, command: what it was computed from, and what makes that.
    """

    hypothesis: str
    words: str
    unit: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    towards: bool = True
    n: str = ""
    missing: str = ""
    holm: float | None = None
    records: tuple[Path, ...] = ()
    command: str = ""

    @property
    def verdict(self) -> Verdict:
        """By the rule; `holm` must be set where there is an estimate."""
        if self.missing or self.p is None or self.holm is None or self.low is None or self.high is None or self.holm > LEVEL:
            return "not decided"
        if self.towards and self.low > 0:
            return "replicates"
        return "does not replicate" if not self.towards and self.high < 0 else "not decided"


@dataclass(frozen=True)
class Outcome:
    """A claim with its findings and verdict."""

    claim: Claim
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """Replicates where all findings do, does not where one does not, else not decided."""
        verdicts = [finding.verdict for finding in self.findings]
        if "does not replicate" in verdicts:
            return "does not replicate"
        return "replicates" if verdicts and all(verdict == "replicates" for verdict in verdicts) else "not decided"


def outcomes(results: Results, scale: Scale) -> list[Outcome]:
    """Every claim at a scale, its p-values adjusted together. Raises `UserError` for a record that is damaged."""
    findings = {claim.id: _findings(results, scale, claim) for claim in CLAIMS}
    flat = [finding for part in findings.values() for finding in part]
    # The family is every hypothesis that was written down: one that cannot be decided yet counts as the least significant.
    family = [1.0 if finding.p is None or finding.missing else finding.p for finding in flat]
    adjusted = dict(zip((finding.hypothesis for finding in flat), holm(family), strict=True))
    return [
        Outcome(claim, tuple(replace(f, holm=None if f.p is None else adjusted[f.hypothesis]) for f in findings[claim.id]))
        for claim in CLAIMS
    ]


def _findings(results: Results, scale: Scale, claim: Claim) -> list[Finding]:
    if claim.id == "C1":
        return probe_findings(results.folder, scale)
    return [test(hypothesis, results, scale) for hypothesis in claim.hypotheses]


def test(hypothesis: Hypothesis, results: Results, scale: Scale) -> Finding:
    """What the records say about a hypothesis: all contrasts together, by intersection and union."""
    estimates: list[Estimate] = []
    seeds: list[int] = []
    planned: list[int] = []
    records: dict[Path, None] = {}
    for contrast in hypothesis.contrasts:
        found = _estimate(contrast, results, scale)
        if isinstance(found, str):
            return Finding(hypothesis.name, hypothesis.words, "points", missing=found)
        estimates.append(found[0])
        seeds.append(len(found[1]))
        planned.append(planned_seeds(scale, BY_NAME[contrast.table]))
        records |= dict.fromkeys(found[2])
    claimed = max(estimate.p_greater for estimate in estimates)
    opposite = min(1.0, min(estimate.p_less for estimate in estimates) * len(estimates))
    towards = claimed <= opposite
    # Of several contrasts the one that is least greater than zero decides: the weakest link of the claim, the strongest evidence against.
    shown = max(estimates, key=lambda estimate: estimate.p_greater)
    problems = sum(_problems(results, scale, hypothesis.contrasts[0], source) for source in _sources(hypothesis.contrasts[0], scale))
    n = f"{min(seeds)} seeds × {problems} problems"
    missing = "" if seeds == planned else f"{min(seeds)} of {max(planned)} planned seeds"
    return Finding(
        hypothesis.name,
        hypothesis.words,
        "points",
        shown.value,
        shown.low,
        shown.high,
        min(1.0, 2 * min(claimed, opposite)),
        towards,
        n,
        missing,
        records=tuple(records),
        command=" && ".join(
            dict.fromkeys(
                f"python -m paced_exp.reproduce --scale {scale.name} --table {contrast.table}" for contrast in hypothesis.contrasts
            )
        ),
    )


test.__test__ = False  # type: ignore[attr-defined]  # pytest would take the name for a test's


def _sources(contrast: Contrast, scale: Scale) -> Sequence[str]:
    by_measure: Mapping[str, Sequence[str]] = {"primary": scale.tiers, "retention": (scale.retention,), "hardest": scale.tiers[-1:]}
    return by_measure[contrast.measure]


def _estimate(contrast: Contrast, results: Results, scale: Scale) -> tuple[Estimate, list[int], list[Path]] | str:
    """The estimate, its seeds and its records, or why there is none."""
    rows = {name: row_named(results, scale, contrast.table, name) for _, name in contrast.terms}
    planned = planned_seeds(scale, BY_NAME[contrast.table])
    rows = {name: measured.first(planned) for name, measured in rows.items()}
    lacking = [name for name, measured in rows.items() if not measured.records]
    if lacking:
        return f"not run: {', '.join(f'{contrast.table}/{name}' for name in lacking)}"
    seeds = common_seeds(list(rows.values()))
    if len(seeds) < LEAST_SEEDS:
        return f"{len(seeds)} common seeds, {LEAST_SEEDS} are needed"
    found = combined([(factor, rows[name]) for factor, name in contrast.terms], _sources(contrast, scale))
    assert found is not None
    return found.shifted(contrast.margin), seeds, [measured.of(seed).path for measured in rows.values() for seed in seeds]


def _problems(results: Results, scale: Scale, contrast: Contrast, source: str) -> int:
    measured = row_named(results, scale, contrast.table, contrast.terms[0][1])
    return len(measured.of(measured.seeds[0]).accuracy(source))


# ---- C1: the probe's records

_ENDS = (("low", "p → 0"), ("high", "p → 1"))
PROBE_STEPS = (1, 20)


DECIDING = ("snr_verdict/qwen3", "snr_probe")  # the probes behind C1, the one with the most problems a bin first


def figure_probe(results: Path, scale: Scale) -> tuple[dict[str, Any], Path] | None:
    """The record that figure 2 shows, with its path: of a probe at several updates where there is one."""
    found = [(record, probe.path(results)) for probe in _deciding(scale) if (record := probe.record(results)) is not None]
    return next((pair for pair in found if "steps" in pair[0]), next(iter(found), None))


def _deciding(scale: Scale) -> list[Probe]:
    by_key = {probe.key: probe for probe in probes_of(scale)}
    return [by_key[key] for key in DECIDING if key in by_key]


def probe_records(results: Path, scale: Scale) -> dict[int, tuple[dict[str, Any], Path]]:
    """The probe's curves of a scale with their record's path, by training step: step 1, and those of `steps` where it was run at several."""
    found: dict[int, tuple[dict[str, Any], Path]] = {}
    for probe in _deciding(scale):
        record, path = probe.record(results), probe.path(results)
        if record is not None:
            panels = {int(panel["step"]): panel for panel in record.get("steps", [])} or {1: record}
            found = {step: (panel, path) for step, panel in panels.items()} | found
    return found


def probe_findings(results: Path, scale: Scale) -> list[Finding]:
    """C1: at each step and end, SNR² in the middle over two less SNR² at the end; positive where it collapses."""
    records = probe_records(results, scale)
    found = []
    for step in PROBE_STEPS:
        for end, words in _ENDS:
            name, text = f"C1.step{step}.{end}", f"step {step}, {words}: SNR²(middle)/2 − SNR²(end)"
            if step not in records:
                found.append(Finding(name, text, "SNR²", missing=f"not run: the probe at step {step}"))
                continue
            record, path = records[step]
            found.append(replace(_probe_finding(name, text, record, end), records=(path,), command=probe_command(scale)))
    return found


def _probe_finding(name: str, words: str, record: dict[str, Any], end: str) -> Finding:
    verdict = record["verdict"][end]
    n = f"{min(row['n'] for row in record['bins'])} problems a bin" if record["bins"] else ""
    if verdict["difference"] is None:
        return Finding(name, words, "SNR²", n=n, missing="the bins there or in the middle hold too few problems")
    value, low, high = -verdict["difference"], -verdict["difference_high"], -verdict["difference_low"]
    error = (high - low) / (2 * float(norm.ppf(0.975)))
    p_greater = float(norm.sf(value / error)) if error > 0 else float(value <= 0)
    p = min(1.0, 2 * min(p_greater, 1 - p_greater))
    missing = "" if verdict["middle_low"] > 0 else "the middle's own SNR² is not told from zero"
    return Finding(name, words, "SNR²", value, low, high, p, p_greater <= 0.5, n, missing)
