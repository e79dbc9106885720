"""The verdicts as tables: of claims, of the hypotheses behind them, and of their sizes beside the paper's. One source for every page."""

import math
from collections.abc import Sequence

from paced_exp.probe.verdict import SHARE
from paced_exp.reproduce.findings import Finding, Outcome, Size
from paced_exp.reproduce.printed_table import NONE, PrintedTable, Value, fixed, signed
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.significance import POWER


def verdict_tables(scale_name: str, found: Sequence[Outcome], reported: Reported) -> list[PrintedTable]:
    """Claims, hypotheses, sizes."""
    return [claims_table(scale_name, found, reported), findings_table(scale_name, found), sizes_table(scale_name, found)]


def finding_text(finding: Finding) -> str:
    """`+1.2 [+0.3, +2.1] points`, or why there is none."""
    if finding.value is None or finding.low is None or finding.high is None:
        return finding.missing
    digits = 1 if finding.unit == "points" else 4
    numbers = f"{signed(finding.value, digits)} [{signed(finding.low, digits)}, {signed(finding.high, digits)}] {finding.unit}"
    return f"{numbers} ({finding.missing})" if finding.missing else numbers


def claims_table(scale_name: str, found: Sequence[Outcome], reported: Reported) -> PrintedTable:
    """A row a claim: the verdicts, which a narrow window must show, and the paper's words."""
    rows = tuple(
        (
            Value(outcome.claim.id),
            _verdict(outcome.words),
            Value(outcome.raw_words),
            Value(outcome.first_verdict),
            Value(reported.claims[outcome.claim.id]),
        )
        for outcome in found
    )
    head = ("claim", "verdict, corrected", "by intervals alone", "first rule", "the paper's statement")
    notes = tuple(untested(found))
    return PrintedTable(f"{scale_name}-claims", f"Claims at {scale_name} scale", head, rows, notes, (0.06, 0.25, 0.22, 0.12, 0.27))


def untested(found: Sequence[Outcome]) -> list[str]:
    """What a reader must know of the family of hypotheses: which of them could not be tested, and what that does to the others."""
    findings = [finding for outcome in found for finding in outcome.findings]
    open_ = [finding for finding in findings if finding.missing or finding.p is None]
    if not open_:
        return []
    reasons = "; ".join(f"{finding.hypothesis} ({finding.missing})" for finding in open_)
    return [
        f"{len(open_)} of the {len(findings)} hypotheses could not be tested, count with p = 1, and leave the corrected p-values of the others "
        f"at their largest: {reasons}."
    ]


def _verdict(words: str) -> Value:
    return Value(words, bold=not words.startswith("not decided"))


def findings_table(scale_name: str, found: Sequence[Outcome]) -> PrintedTable:
    """A row a hypothesis: what was measured, what would have been seen, and the verdicts."""
    rows = []
    for outcome in found:
        for finding in outcome.findings:
            rows.append(
                (
                    Value(finding.hypothesis),
                    Value(finding.words),
                    Value(finding_text(finding), finding.value, False, finding.records, finding.command),
                    Value(finding.n or NONE),
                    Value(seen_text(finding), finding.seen),
                    Value(_p(finding.p), finding.p),
                    Value(_p(finding.holm), finding.holm),
                    _verdict(finding.says(finding.verdict)),
                    Value(finding.says(finding.raw_verdict)),
                    Value(finding.first_verdict),
                )
            )
    head = (
        "hypothesis",
        "contrast, claimed to be above zero",
        "measured, 95 % interval",
        "n",
        "would be seen: alone, corrected",
        "p",
        "p, Holm",
        "verdict, corrected",
        "by the interval alone",
        "first rule",
    )
    notes = (
        f"Would be seen: the effect that a study of this one's standard error and degrees of freedom sees with a chance of {100 * POWER:.0f} %, by its "
        f"interval alone and at Holm's first step over {len(rows)} hypotheses.",
        f"C1 is judged by bins: half of the middle's SNR² is {math.sqrt(SHARE):.2f} of the SNR that figures plot. Its verdicts are on the bin, not on a limit.",
    )
    widths = (0.1, 0.15, 0.13, 0.08, 0.08, 0.05, 0.05, 0.1, 0.1, 0.08)
    return PrintedTable(f"{scale_name}-findings", f"Hypotheses at {scale_name} scale", head, tuple(rows), notes, widths)


def sizes_table(scale_name: str, found: Sequence[Outcome]) -> PrintedTable:
    """A row a hypothesis that is asked for its size or for equivalence: ours beside the paper's, and the p-values of both questions."""
    rows = []
    for finding in (finding for outcome in found for finding in outcome.findings):
        size = finding.size
        if size is None and finding.p_equivalent is None:
            continue
        rows.append(
            (
                Value(finding.hypothesis),
                Value(NONE) if size is None else Value(signed(size.points, 1), size.points),
                Value(NONE) if size is None else Value(f"{fixed(size.reported, 2)} ± {fixed(size.reported_error, 2)}", size.reported),
                Value(NONE) if size is None else Value(share_text(size), size.value, False, finding.records, finding.command),
                Value(_p(size.p if size else None), size.p if size else None),
                Value(_p(size.holm if size else None), size.holm if size else None),
                Value(_p(finding.p_equivalent), finding.p_equivalent),
                Value(_p(finding.holm_equivalent), finding.holm_equivalent),
            )
        )
    head = (
        "hypothesis",
        "the paper's effect, points",
        "the paper's share",
        "our share, 95 % interval",
        "p, smaller",
        "p, smaller, Holm",
        "p, within a point",
        "p, within a point, Holm",
    )
    notes = (
        "Share: the effect over what uniform gains over the base in the same setup, each as the mean of the benchmarks or tiers; of several contrasts the one "
        "that falls shortest of the paper. Interval: Fieller's, over seeds and problems. ±: the standard error that the paper's standard deviations over eight "
        "samples give; rows printed without have none. p-values are two-sided, and Holm's are over the hypotheses of the column.",
    )
    widths = (0.16, 0.1, 0.14, 0.2, 0.08, 0.08, 0.08, 0.08)
    return PrintedTable(f"{scale_name}-sizes", f"Sizes and equivalence at {scale_name} scale", head, tuple(rows), notes, widths)


def share_text(size: Size) -> str:
    """`0.39 [0.09, 0.83]`; an end that the interval does not have is ∞."""
    low, high = (sign + "∞" if end is None else fixed(end, 2) for end, sign in ((size.low, "−"), (size.high, "")))
    return f"{fixed(size.value, 2)} [{low}, {high}]"


def seen_text(finding: Finding) -> str:
    """The smallest effects that would have been seen, alone and corrected: `1.1, 1.6`."""
    if finding.seen is None or finding.seen_holm is None:
        return NONE
    digits = 1 if finding.unit == "points" else 4
    return f"{fixed(finding.seen, digits)}, {fixed(finding.seen_holm, digits)}"


def _p(value: float | None) -> str:
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else fixed(value, 3)
