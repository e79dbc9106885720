"""What the verdict tables of both protocols share: a finding in words, sizes beside the paper's, and what could not be tested."""

from collections.abc import Sequence
from dataclasses import replace

from paced_exp.reproduce.claims import Claim
from paced_exp.reproduce.findings import Finding, Outcome, Size
from paced_exp.reproduce.printed_table import NONE, PrintedTable, Value, fixed, signed


def finding_text(finding: Finding) -> str:
    """`+1.2 [+0.3, +2.1] points`, or why there is none."""
    if finding.value is None or finding.low is None or finding.high is None:
        return finding.missing
    digits = 1 if finding.unit == "points" else 4
    numbers = f"{signed(finding.value, digits)} [{signed(finding.low, digits)}, {signed(finding.high, digits)}] {finding.unit}"
    return f"{numbers} ({finding.missing})" if finding.missing else numbers


def brief_text(finding: Finding) -> str:
    """The same for a table of few words: `not run yet` for what was not measured, and without the names of seeds that are lacking."""
    if finding.value is None:
        return "not run yet"
    return finding_text(replace(finding, missing=finding.missing.partition(":")[0]))


def measured_text(claim: Claim, finding: Finding) -> str:
    """The difference without its margin, what it is of where that is not accuracy, what it is to where there are several, and the margin."""
    if finding.value is None or finding.low is None or finding.high is None:
        return brief_text(finding)
    plain = replace(finding, **{end: getattr(finding, end) - finding.margin for end in ("value", "low", "high")})
    contrasts = [contrast for one in claim.hypotheses if one.name == finding.hypothesis for contrast in one.contrasts]
    kept = " less forgotten" if finding.unit == "points" and any(contrast.measure == "retention" for contrast in contrasts) else ""
    against = f" against {finding.against}" if finding.against else ""
    return brief_text(plain) + kept + against + (f" (claimed: no loss above {finding.margin:g} point)" if finding.margin else "")


def untested(found: Sequence[Outcome]) -> list[str]:
    """What a reader must know of the family of hypotheses: which of them could not be tested, and what that does to the others."""
    findings = [finding for outcome in found for finding in outcome.primary]
    open_ = [finding for finding in findings if finding.missing or finding.p is None]
    if not open_:
        return []
    kind = "primary hypotheses" if any(outcome.exploratory for outcome in found) else "hypotheses"
    reasons = "; ".join(f"{finding.hypothesis} ({finding.missing})" for finding in open_)
    return [
        f"{len(open_)} of the {len(findings)} {kind} could not be tested, count with p = 1, and leave the corrected p-values of the others "
        f"at their largest: {reasons}."
    ]


def verdict_value(words: str) -> Value:
    """A verdict, bold where it is one."""
    return Value(words, bold=not words.startswith("not decided"))


def p_text(value: float | None) -> str:
    """A p-value, or that there is none."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else fixed(value, 3)


def sizes_table(scale_name: str, found: Sequence[Outcome], further: Sequence[str] = ()) -> PrintedTable:
    """A row a hypothesis that is asked for its size or for equivalence: ours beside the paper's, and the p-values of both questions. further: notes."""
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
                Value(p_text(size.p if size else None), size.p if size else None),
                Value(p_text(size.holm if size else None), size.holm if size else None),
                Value(p_text(finding.p_equivalent), finding.p_equivalent),
                Value(p_text(finding.holm_equivalent), finding.holm_equivalent),
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
        *further,
    )
    widths = (0.16, 0.1, 0.14, 0.2, 0.08, 0.08, 0.08, 0.08)
    return PrintedTable(f"{scale_name}-sizes", f"Sizes and equivalence at {scale_name} scale", head, tuple(rows), notes, widths)


def share_text(size: Size) -> str:
    """`0.39 [0.09, 0.83]`; an end that the interval does not have is ∞."""
    low, high = (sign + "∞" if end is None else fixed(end, 2) for end, sign in ((size.low, "−"), (size.high, "")))
    return f"{fixed(size.value, 2)} [{low}, {high}]"
