"""The record of what the second protocol can see (`detectable` makes it): the planned effects of every hypothesis, and their table."""

from pathlib import Path
from typing import Any

from paced_exp.core.json_files import read_checked
from paced_exp.reproduce.printed_table import NONE, fixed
from paced_exp.reproduce.protocols import claims_of
from paced_exp.reproduce.scales import Scale

KIND = "detectable"


def path_of(results: Path, scale: Scale) -> Path:
    """Where the record of a scale's plan lies."""
    return results / scale.name / "detectable.json"


def planned_effects(results: Path, scale: Scale) -> dict[str, dict[str, Any]]:
    """The rows of the record by hypothesis; none where it was not made, or where the protocol has no plan. Raises `UserError` for a damaged one."""
    path = path_of(results, scale)
    if scale.protocol == 1 or not path.exists():
        return {}
    return {row["hypothesis"]: row for row in read_checked(path, KIND)["hypotheses"]}


def block(rows: dict[str, dict[str, Any]], protocol: int) -> str:
    """The table of hypotheses with their MDE, in Markdown, and what was estimated where."""
    lines = [
        "| claim | hypothesis | contrast, claimed to be above zero | role | seeds | MDE alone | MDE corrected | MDE alone, cautious |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    for claim in claims_of(protocol):
        for hypothesis in claim.hypotheses:
            if hypothesis.later:
                continue
            row = rows[hypothesis.name]
            digits = 1 if row["unit"] == "points" else 4
            numbers = (NONE if (value := row.get(name)) is None else fixed(value, digits) for name in ("alone", "corrected", "cautious"))
            words = f"{hypothesis.words}{'' if row['unit'] == 'points' else ', SNR²'}"
            role = "**primary**" if hypothesis.primary else "exploratory"
            lines.append(f"| {claim.id} | {hypothesis.name} | {words} | {role} | {row.get('seeds', NONE)} | {' | '.join(numbers)} |")
    return "\n".join(lines)
