"""The verdicts as tables: of claims, of the hypotheses behind them, and of their sizes beside the paper's. One source for every page.

Here those of the first protocol; the second prints its own (`second_verdict_tables`).
"""

import math
from collections.abc import Sequence

from paced_exp.probe.verdict import SHARE
from paced_exp.reproduce.findings import Finding, Outcome
from paced_exp.reproduce.printed_table import NONE, PrintedTable, Value, fixed
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.second_verdict_tables import second_verdict_tables
from paced_exp.reproduce.significance import POWER
from paced_exp.reproduce.verdict_parts import finding_text, p_text, sizes_table, untested, verdict_value


def verdict_tables(scale_name: str, found: Sequence[Outcome], reported: Reported) -> list[PrintedTable]:
    """Claims, hypotheses, sizes, as the protocol of the claims prints them."""
    if found[0].claim.protocol == 2:
        return second_verdict_tables(scale_name, found, reported)
    return [claims_table(scale_name, found, reported), findings_table(scale_name, found), sizes_table(scale_name, found)]


def claims_table(scale_name: str, found: Sequence[Outcome], reported: Reported) -> PrintedTable:
    """A row a claim: the verdicts, which a narrow window must show, and the paper's words."""
    rows = tuple(
        (
            Value(outcome.claim.id),
            verdict_value(outcome.words),
            Value(outcome.raw_words),
            Value(outcome.first_verdict),
            Value(reported.claims[outcome.claim.id]),
        )
        for outcome in found
    )
    head = ("claim", "verdict, corrected", "by intervals alone", "first rule", "the paper's statement")
    notes = tuple(untested(found))
    return PrintedTable(f"{scale_name}-claims", f"Claims at {scale_name} scale", head, rows, notes, (0.06, 0.25, 0.22, 0.12, 0.27))


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
                    Value(p_text(finding.p), finding.p),
                    Value(p_text(finding.holm), finding.holm),
                    verdict_value(finding.says(finding.verdict)),
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


def seen_text(finding: Finding) -> str:
    """The smallest effects that would have been seen, alone and corrected: `1.1, 1.6`."""
    if finding.seen is None or finding.seen_holm is None:
        return NONE
    digits = 1 if finding.unit == "points" else 4
    return f"{fixed(finding.seen, digits)}, {fixed(finding.seen_holm, digits)}"
