"""The verdicts of all scales of the second protocol side by side: for which models a claim holds."""

from collections.abc import Sequence

from paced_exp.reproduce.findings import Outcome
from paced_exp.reproduce.printed_table import PrintedTable, Value
from paced_exp.reproduce.protocols import claims_of
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.verdict_parts import brief_text, verdict_value

NOT_ASKED = "not asked"


def verdicts_by_model(judged: Sequence[tuple[Scale, Sequence[Outcome]]]) -> list[list[Value]]:
    """A row a claim with a primary hypothesis: its name, and a scale each the verdict, corrected, with what was measured."""
    rows = []
    for claim in claims_of(2):
        if not any(hypothesis.primary for hypothesis in claim.hypotheses):
            continue
        row = [Value(f"{claim.id}: {claim.short}")]
        for _, outcomes in judged:
            outcome = next((one for one in outcomes if one.claim.id == claim.id and one.primary), None)
            row.append(Value(NOT_ASKED) if outcome is None else _verdict(outcome))
        rows.append(row)
    return rows


def _verdict(outcome: Outcome) -> Value:
    measured = "; ".join(brief_text(finding) for finding in outcome.primary)
    return Value(f"{outcome.words}: {measured}", bold=verdict_value(outcome.words).bold)


def by_model_table(judged: Sequence[tuple[Scale, Sequence[Outcome]]]) -> PrintedTable:
    """The same as a table, a column a scale."""
    head = ("claim", *(f"{scale.models} ({scale.name})" for scale, _ in judged))
    notes = (
        "Verdicts on primary hypotheses, each corrected over those of its own scale. A verdict holds for its models alone.",
        *(f"{scale.name}: {scale.about}" for scale, _ in judged if scale.about),
    )
    return PrintedTable("claims-by-model", "Claims by model", head, tuple(map(tuple, verdicts_by_model(judged))), notes)
