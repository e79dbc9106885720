"""The verdicts of the second protocol as tables: primary hypotheses apart from exploratory ones, each beside what its plan said would be seen."""

import math
from collections.abc import Callable, Sequence

from paced_exp.probe.verdict import SHARE
from paced_exp.reproduce.findings import LEVEL, Finding, Outcome
from paced_exp.reproduce.printed_table import NONE, PrintedTable, Value, fixed
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.significance import POWER
from paced_exp.reproduce.verdict_parts import finding_text, p_text, sizes_table, untested, verdict_value

_NO_PRIMARY = "exploratory only"
_NOTE_PLANNED = (
    f"Planned to be seen: the minimal detectable effect, which a run of the plan sees with a chance of {100 * POWER:.0f} %, simulated from the first protocol's records before "
    "the runs. Would be seen: the same with the standard error and the degrees of freedom that came out."
)
_NOTE_SIZES = "Uniform's gain is that of one pass with as many updates as the rows of the contrast. Only primary hypotheses are corrected. –: exploratory, or not asked."


def second_verdict_tables(scale_name: str, found: Sequence[Outcome], reported: Reported) -> list[PrintedTable]:
    """Claims, primary hypotheses, exploratory ones, sizes."""
    return [
        _claims(scale_name, found, reported),
        _primaries(scale_name, found),
        _exploratory(scale_name, found),
        sizes_table(scale_name, found, (_NOTE_SIZES,)),
    ]


def _claims(scale_name: str, found: Sequence[Outcome], reported: Reported) -> PrintedTable:
    rows = tuple(
        (
            Value(outcome.claim.id),
            verdict_value(outcome.words) if outcome.primary else Value(_NO_PRIMARY),
            Value(outcome.raw_words if outcome.primary else NONE),
            Value(_planned(outcome.primary)),
            Value(outcome.claim.statement or reported.claims[outcome.claim.id]),
            Value("ours" if outcome.claim.statement else "the paper"),
        )
        for outcome in found
    )
    head = ("claim", "verdict, corrected", "by the interval alone", "planned to be seen: alone, corrected", "statement", "whose")
    notes = ("A claim's verdict is that of its primary hypothesis.", _NOTE_PLANNED, *untested(found))
    return PrintedTable(f"{scale_name}-claims", f"Claims at {scale_name} scale", head, rows, notes, (0.06, 0.16, 0.16, 0.14, 0.32, 0.08))


def _planned(findings: Sequence[Finding]) -> str:
    return "; ".join(text for finding in findings if (text := planned_text(finding)) != NONE) or NONE


def planned_text(finding: Finding) -> str:
    """What the plan said would be seen: `0.4, 0.6 points`, alone and corrected, or alone where nothing is corrected."""
    return _effects((finding.planned, finding.planned_holm), finding)


def came_text(finding: Finding) -> str:
    """The same of the records themselves."""
    return _effects((finding.seen, finding.seen_holm), finding)


def _effects(effects: Sequence[float | None], finding: Finding) -> str:
    digits = 1 if finding.unit == "points" else 4
    numbers = ", ".join(fixed(value, digits) for value in effects if value is not None)
    return f"{numbers} {finding.unit}" if numbers else NONE


def _measured(finding: Finding) -> str:
    """What was measured, and of several contrasts which one that is."""
    text = finding_text(finding)
    return f"{text}, against {finding.against}" if finding.against else text


Column = tuple[str, float, Callable[[Finding], Value]]
_SHARED: tuple[Column, ...] = (
    ("hypothesis", 0.1, lambda finding: Value(finding.hypothesis)),
    ("contrast, claimed to be above zero", 0.2, lambda finding: Value(finding.words)),
    (
        "measured, 95 % interval",
        0.15,
        lambda finding: Value(_measured(finding), finding.value, False, finding.records, finding.command),
    ),
    ("n", 0.1, lambda finding: Value(finding.n or NONE)),
    ("planned to be seen", 0.1, lambda finding: Value(planned_text(finding), finding.planned)),
    ("would be seen", 0.1, lambda finding: Value(came_text(finding), finding.seen)),
    ("p", 0.05, lambda finding: Value(p_text(finding.p), finding.p)),
)
_OF_PRIMARIES: tuple[Column, ...] = (
    ("p, Holm", 0.05, lambda finding: Value(p_text(finding.holm), finding.holm)),
    ("verdict, corrected", 0.1, lambda finding: verdict_value(finding.says(finding.verdict))),
    ("by the interval alone", 0.1, lambda finding: Value(finding.says(finding.raw_verdict))),
)
_OF_OTHERS: tuple[Column, ...] = (("by the interval alone", 0.12, lambda finding: Value(finding.says(finding.raw_verdict))),)


def _primaries(scale_name: str, found: Sequence[Outcome]) -> PrintedTable:
    findings = [finding for outcome in found for finding in outcome.primary]
    notes = (
        f"Two effects: alone, and at Holm's first step over these {len(findings)} hypotheses ({LEVEL / len(findings):.4f}).",
        "Of several contrasts, the one least surely above zero is shown, and decides; it need not be the smallest. Margins are included.",
        _NOTE_PLANNED,
        f"C1 is judged by ranges of the pass rate: half of the middle's SNR² is {math.sqrt(SHARE):.2f} of the SNR that figures plot. Its verdicts are on the range, not on "
        "a limit.",
    )
    return _table(f"{scale_name}-findings", f"Primary hypotheses at {scale_name} scale", findings, (*_SHARED, *_OF_PRIMARIES), notes)


def _exploratory(scale_name: str, found: Sequence[Outcome]) -> PrintedTable:
    findings = [finding for outcome in found for finding in outcome.exploratory]
    notes = (
        f"Exploratory: {len(findings)} hypotheses that decide no claim, and for which nothing is corrected. Those declared after their runs have no plan.",
        _NOTE_PLANNED,
    )
    return _table(f"{scale_name}-exploratory", f"Exploratory hypotheses at {scale_name} scale", findings, (*_SHARED, *_OF_OTHERS), notes)


def _table(name: str, title: str, findings: Sequence[Finding], columns: Sequence[Column], notes: tuple[str, ...]) -> PrintedTable:
    rows = tuple(tuple(make(finding) for _, _, make in columns) for finding in findings)
    total = sum(width for _, width, _ in columns) / 0.92
    widths = tuple(round(width / total, 3) for _, width, _ in columns)
    return PrintedTable(name, title, tuple(head for head, _, _ in columns), rows, notes, widths)
