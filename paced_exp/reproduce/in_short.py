"""A scale of the second protocol in one table: each claim with its verdict, its effect beside what no weighting gains, and what could be seen."""

from paced_exp.reproduce.claims import Contrast
from paced_exp.reproduce.findings import Finding, Outcome
from paced_exp.reproduce.grids import BY_NAME, main_table
from paced_exp.reproduce.measures import combined, row_named
from paced_exp.reproduce.printed_table import NONE, PrintedTable, Value, fixed
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.second_verdict_tables import came_text, planned_text
from paced_exp.reproduce.significance import Estimate
from paced_exp.reproduce.verdict_parts import measured_text, verdict_value

_SHORT = "one-pass-short"  # the unweighted run of half the updates stands there, of the setup `distillation`


def gain(results: Results, scale: Scale, setup: str, updates: float = 1.0) -> Estimate | None:
    """What no weighting gains over the untrained student in one pass, in points on the mean of tiers; None where it was not run.

    updates: as a share of the setup's.
    """
    main = main_table(2, setup)
    uniform = (_SHORT, "uniform-short") if updates == 0.5 and setup == "distillation" else (main.name, "uniform")
    rows = row_named(results, scale, *uniform), row_named(results, scale, main.name, "base")
    return combined([(1.0, rows[0]), (-1.0, rows[1])], scale.tiers)


def share(finding: Finding, contrast: Contrast, results: Results, scale: Scale) -> str:
    """The effect in per cent of what no weighting gains: of the same setup, with as many updates. A margin is taken off first. Of retention: in per
    cent of what no weighting forgets."""
    row = BY_NAME[contrast.placed[0][1]].row(contrast.placed[0][2])
    if contrast.measure == "retention":
        return _share_of_forgetting(finding, results, scale, row.setup)
    gained = gain(results, scale, row.setup, row.updates)
    if finding.value is None or finding.unit != "points" or gained is None or gained.low <= 0:
        return NONE
    return f"{fixed(100 * (finding.value - finding.margin) / gained.value, 0)} %"


def _share_of_forgetting(finding: Finding, results: Results, scale: Scale, setup: str) -> str:
    table = main_table(2, setup).name
    rows = row_named(results, scale, table, "base"), row_named(results, scale, table, "uniform")
    lost = combined([(1.0, rows[0]), (-1.0, rows[1])], (scale.retention,))
    if finding.value is None or lost is None or lost.low <= 0:
        return NONE
    return f"{fixed(100 * finding.value / lost.value, 0)} % of {fixed(lost.value, 1)} points forgotten"


def in_short(results: Results, scale: Scale, found: list[Outcome]) -> PrintedTable:
    """A row a claim, from its primary hypothesis."""
    rows = tuple(_row(results, scale, outcome) for outcome in found if outcome.primary)
    head = ("claim", "verdict", "measured, 95 % interval", "share of the unweighted gain", "would be seen", "planned to be seen")
    notes = (
        "Verdicts are corrected by Holm's method. A claim is oriented so that its effect is above zero; points are of accuracy on the mean of tiers, the three "
        "sets of held-out problems from easier (mid) to harder (hard-a, hard-b); of C4, of retention, the accuracy on skills that training leaves out; forgetting is its "
        "loss. A margin is taken off what is measured. Share: the effect over what no weighting gains on the untrained student in one pass with as many updates. Would be seen: "
        "the effect that these records see with a chance of 80 %, alone and corrected; planned: the same by simulation before the runs.",
    )
    return PrintedTable(f"{scale.name}-in-short", "In short", head, rows, notes)


def _row(results: Results, scale: Scale, outcome: Outcome) -> tuple[Value, ...]:
    (finding,) = outcome.primary
    contrasts = next(one.contrasts for one in outcome.claim.hypotheses if one.name == finding.hypothesis)
    return (
        Value(f"{outcome.claim.id}: {outcome.claim.short}"),
        verdict_value(finding.says(finding.verdict)),
        Value(measured_text(outcome.claim, finding), finding.value, False, finding.records, finding.command),
        Value(share(finding, contrasts[0], results, scale) if contrasts else NONE),
        Value(came_text(finding), finding.seen),
        Value(planned_text(finding), finding.planned),
    )
