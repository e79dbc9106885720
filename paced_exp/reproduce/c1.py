"""C1: what the probes' records say of both ends of the pass-rate range: of the end bins at each update that the claim names, or of the ranges."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scipy.stats import norm

from paced_exp.probe.verdict import bin_name
from paced_exp.reproduce.claims import Hypothesis
from paced_exp.reproduce.findings import Finding
from paced_exp.reproduce.probes import Probe, probe_command, probes_of
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.significance import CONFIDENCE, Estimate

_ENDS = (("low", "the bin k = 0"), ("high", "the bin k = K"))
PROBE_STEPS = (1, 20)

# The second protocol's hypotheses: the probe of ranges behind each, and the end.
RANGE_PROBES = {
    "C1.low": ("snr_ranges/qwen3", "low"),
    "C1.high": ("snr_ranges/qwen3", "high"),
    "C1.llama-low": ("snr_ranges/llama", "low"),
    "C1.llama-high": ("snr_ranges/llama", "high"),
}
DECIDING = ("snr_verdict/qwen3", "snr_probe")  # the probes behind C1, the one with the most problems a bin first


def figure_probe(results: Path, scale: Scale) -> tuple[dict[str, Any], Path] | None:
    """The record that figure 2 shows, with its path: of a probe at several updates where there is one. In the second protocol, of the ranges."""
    probes = _deciding(scale) if scale.protocol == 1 else [probe for probe in probes_of(scale) if probe.key == RANGE_PROBES["C1.low"][0]]
    found = [(record, probe.path(results)) for probe in probes if (record := probe.record(results)) is not None]
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
    """C1: at each step and end, half of the middle's SNR² less that of the end bin: positive where the bin has less than half."""
    records = probe_records(results, scale)
    found = []
    for step in PROBE_STEPS:
        for end, words in _ENDS:
            name, text = f"C1.step{step}.{end}", f"step {step}, {words}: SNR²(middle)/2 − SNR²(bin)"
            if step not in records:
                found.append(Finding(name, text, "SNR²", missing=f"not run: the probe at step {step}"))
                continue
            record, path = records[step]
            found.append(replace(_probe_finding(name, text, record, end), end=words, records=(path,), command=probe_command(scale)))
    return found


def range_findings(results: Path, scale: Scale, hypotheses: Sequence[Hypothesis]) -> list[Finding]:
    """C1 in the second protocol: the same of the outermost ranges of each probe in `RANGE_PROBES`."""
    probes = {probe.key: probe for probe in probes_of(scale)}
    found = []
    for hypothesis in hypotheses:
        key, end = RANGE_PROBES[hypothesis.name]
        probe = probes.get(key)
        record = None if probe is None else probe.record(results)
        if probe is None or record is None:
            missing = f"not run: the probe {key}"
            found.append(Finding(hypothesis.name, hypothesis.words, "SNR²", missing=missing, primary=hypothesis.primary))
            continue
        finding = _probe_finding(hypothesis.name, hypothesis.words, record, end)
        edge = record["bins"][0 if end == "low" else -1] if record["bins"] else None
        found.append(
            replace(
                finding,
                primary=hypothesis.primary,
                end=bin_name(record, end),
                n="" if edge is None else f"{edge['n']} problems in the range",
                records=(probe.path(results),),
                command=probe.command,
            )
        )
    return found


def _probe_finding(name: str, words: str, record: dict[str, Any], end: str) -> Finding:
    verdict = record["verdict"][end]
    n = f"{min(row['n'] for row in record['bins'])} problems a bin" if record["bins"] else ""
    if verdict["difference"] is None:
        return Finding(name, words, "SNR²", n=n, missing="the bins there or in the middle hold too few problems")
    value, low, high = -verdict["difference"], -verdict["difference_high"], -verdict["difference_low"]
    error = (high - low) / (2 * float(norm.ppf((1 + CONFIDENCE) / 2)))
    p_greater = float(norm.sf(value / error)) if error > 0 else float(value <= 0)
    p = min(1.0, 2 * min(p_greater, 1 - p_greater))
    missing = "" if verdict["middle_low"] > 0 else "the middle's own SNR² is not told from zero"
    return Finding(name, words, "SNR²", value, low, high, p, p_greater <= 0.5, n, missing, estimate=Estimate(value, error, math.inf))
