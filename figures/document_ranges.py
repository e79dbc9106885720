"""The part of docs/snr.md on the second protocol's test of C1: SNR² in narrow ranges of the pass rate, beside the middle's."""

import math
from pathlib import Path
from typing import Any

from paced_exp.probe.fits import exponent_words, mixture_of, quality_words
from paced_exp.probe.verdict import ENDS, bin_name, by_rule
from paced_exp.reproduce.c1 import RANGE_PROBES
from paced_exp.reproduce.findings import Finding
from paced_exp.reproduce.probes import Probe, probe_command, probes_of
from paced_exp.reproduce.scales import DESK
from paced_exp.reproduce.verdicts import findings_by_name

HEAD = (
    "| architecture | range of pass rates | problems | SNR | SNR of the middle, 0.3 to 0.7 | by its own 95 % interval | as a claim's hypothesis |",
    "|---|---|---:|---:|---:|---|---|",
)


def ranges(results: Path) -> list[str]:
    """Markdown lines: a row for each end of each probe that was run, the exponents that fit, and the picture; the command where none was."""
    probes = {probe.key: probe for probe in probes_of(DESK)}
    found = {
        key: record for key in dict.fromkeys(key for key, _ in RANGE_PROBES.values()) if (record := probes[key].record(results)) is not None
    }
    if not found:
        return [f"Not run: `{probe_command(DESK)}`."]
    findings = findings_by_name(results, DESK)
    names = {place: name for name, place in RANGE_PROBES.items()}
    rows = [_row(probes[key], record, end, findings.get(names[key, end])) for key, record in found.items() for end in ENDS]
    lines = [f"`{probe_command(DESK)}`", "", *HEAD, *rows, ""]
    lines += [_fitted(probes[key], record) for key, record in found.items()]
    picture = f"../results/{DESK.name}/{next(iter(found))}/snr_curve.png"
    return [*lines, "", f"![SNR by ranges of the pass rate]({picture})"]


def _row(probe: Probe, record: dict[str, Any], end: str, finding: Finding | None) -> str:
    row, verdict = record["bins"][0 if end == "low" else -1], record["verdict"][end]
    judged = "–" if finding is None else f"{finding.hypothesis}: {finding.verdict}"
    cells = (
        _architecture(probe),
        bin_name(record, end).removeprefix("the range "),
        f"{row['n']:,}",
        _root(row, "snr_squared"),
        _root(verdict, "middle"),
        by_rule(verdict),
        judged,
    )
    return f"| {' | '.join(cells)} |"


def _architecture(probe: Probe) -> str:
    return probe.key.rpartition("/")[2].capitalize()


def _root(values: dict[str, Any], name: str) -> str:
    """The SNR and its interval from those of its square; below zero it is zero."""
    value, low, high = (math.sqrt(max(0.0, values[f"{name}{end}"])) for end in ("", "_low", "_high"))
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _fitted(probe: Probe, record: dict[str, Any]) -> str:
    found = mixture_of(record)
    if (fit := found["fit"]) is None:
        return f"- {_architecture(probe)}: {found['problem']}."
    return f"- {_architecture(probe)}, SNR² = c p^a (1-p)^b: {exponent_words(fit, 'a')}; {exponent_words(fit, 'b')}; {quality_words(fit)}."
