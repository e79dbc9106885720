"""Outcomes as table rows, JSON records and the Markdown page docs/theory.md."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from paced_theory.claims import counts_by_source
from paced_theory.claims.ledger import Comparison, Origin, Outcome, Section, Status, number
from paced_theory.connections import connections_table

_WHOSE: dict[Origin, str] = {"paper": "the paper's", "standard": "standard", "ours": "ours"}
_STATUSES: tuple[Status, ...] = ("holds", "conditional", "refuted", "error")


def comparison_text(comparison: Comparison) -> str:
    """`found = expected +- tolerance`, or one-sided."""
    found, expected = number(comparison.value, comparison.tolerance), number(comparison.expected, comparison.tolerance)
    margin = f" (tolerance {comparison.tolerance:g})" if comparison.tolerance else ""
    verdict = "" if comparison.holds else ", which fails"
    return f"{found} {comparison.relation} {expected}{margin}{verdict}"


def table_row(outcome: Outcome, position: int, total: int) -> str:
    """One line of the table printed while the ledger runs, and one for each condition or problem."""
    width = len(str(total))
    found = outcome.error
    if outcome.evidence:
        main = outcome.evidence.main
        found = f"{main.what}: {comparison_text(main)}" if main.what else comparison_text(main)
    lines = [f"[{position:{width}}/{total}] {outcome.claim.id:38} {outcome.status:11} {found}  {outcome.seconds:.1f} s"]
    if not outcome.as_recorded:
        lines.append(f"      NOT AS RECORDED: the ledger says {outcome.claim.recorded!r}")
        lines.extend(f"      {problem}" for problem in _problems(outcome))
    elif outcome.evidence:
        lines.extend(f"      needs: {condition}" for condition in outcome.evidence.conditions)
    return "\n".join(lines)


def _problems(outcome: Outcome) -> list[str]:
    """What made the verdict differ from the recorded one."""
    if outcome.evidence is None:
        return [outcome.error]
    evidence = outcome.evidence
    found = [f"{c.what or 'value'}: {comparison_text(c)}" for c in (evidence.main, *evidence.also) if not c.holds]
    if evidence.derivation and not evidence.derivation.holds:
        found.append(f"failed: derivation: {evidence.derivation.identity}")
    return found + [f"broken by: {attack.what}" for attack in evidence.attacks if attack.drops is None and not attack.survived]


def summary(outcomes: Sequence[Outcome]) -> str:
    """The last line of the table: how many claims came out how, by whose statement they are, and in how many seconds."""
    unlike = sum(not outcome.as_recorded for outcome in outcomes)
    record = "all as recorded" if unlike == 0 else f"{unlike} NOT as recorded"
    groups = counts_by_source(outcomes)
    parts = "; ".join(f"{_WHOSE[origin]} {counts.total()}: {_verdicts(counts)}" for origin, counts in groups.items() if counts)
    total = sum(groups.values(), Counter())
    seconds = sum(outcome.seconds for outcome in outcomes)
    return f"{len(outcomes)} claims: {_verdicts(total)} ({parts}); {record}; {seconds:.1f} s"


def _verdicts(counts: Counter[Status]) -> str:
    return ", ".join(f"{counts[status]} {status}" for status in _STATUSES if counts[status])


def record(outcome: Outcome) -> dict[str, object]:
    """The JSON object of one outcome; numbers that are not finite become null."""
    claim, evidence = outcome.claim, outcome.evidence

    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    entry: dict[str, object] = {
        "id": claim.id,
        "statement": claim.statement,
        "formula": claim.formula,
        "source": claim.source,
        "origin": claim.origin,
        "assumptions": claim.assumptions,
        "route": claim.route,
        "file": claim.file,
        "status": outcome.status,
        "recorded": claim.recorded,
        "value": finite(evidence.main.value) if evidence else None,
        "expected": finite(evidence.main.expected) if evidence else None,
        "relation": evidence.main.relation if evidence else None,
        "tolerance": evidence.main.tolerance if evidence else None,
        "seconds": round(outcome.seconds, 3),
    }
    if evidence:
        entry["derivation"] = (
            None if evidence.derivation is None else {"identity": evidence.derivation.identity, "holds": evidence.derivation.holds}
        )
        entry["conditions"] = list(evidence.conditions)
        entry["needed"] = list(evidence.needed)
        entry["attacks"] = [
            {"what": a.what, "survived": a.survived, "drops": a.drops, "then": "" if a.survived else a.condition} for a in evidence.attacks
        ]
    else:
        entry["error"] = outcome.error
    return entry


def markdown(sections: Iterable[Section], outcomes: Sequence[Outcome]) -> str:
    """The page docs/theory.md: every claim with its formula, status, evidence and file. No timings: equal runs give equal pages."""
    by_id = {outcome.claim.id: outcome for outcome in outcomes}
    lines = [
        "# The theory, claim by claim",
        "",
        "Generated by `python -m paced_theory.verify --markdown > docs/theory.md`; do not edit. Each verdict is computed from the",
        "evidence: a claim is *refuted* if its derivation or a comparison fails under its own assumptions, *conditional* if an attack",
        "that its source does not exclude breaks it, and *holds* otherwise. Where an attack drops an assumption that the claim itself",
        "states, and breaks it, the claim *holds* and *needs* that assumption.",
        "",
        "| Whose statement | Claims | Hold | of these with an assumption that is needed | Conditional | Refuted |",
        "|---|---|---|---|---|---|",
        *_counts(outcomes),
        "",
        "What is checked of the paper:",
        "",
        "| Statement | Claims |",
        "|---|---|",
        *_paper_items(outcomes),
        "",
        "Nothing else of the paper is checked here: not its proofs line by line, not its other assumptions, and nothing about the gradients",
        "of real models, which is measured ([claims.md](claims.md)).",
        "",
        "| Claim | Statement | Status |",
        "|---|---|---|",
    ]
    chosen = [(section, [by_id[claim.id] for claim in section.claims if claim.id in by_id]) for section in sections]
    for _, group in chosen:
        lines += [f"| {_link(o)} | {_cell(o.claim.statement)} | {_cell(status_text(o))} |" for o in group]
    lines += ["", *_connections()]
    for section, group in chosen:
        if group:
            lines += [
                "",
                f"## {section.title}",
                "",
                f"Implemented in `{section.file}`, checked in `paced_theory/claims/{section.name}.py`.",
            ]
        for outcome in group:
            lines += ["", *_entry(outcome)]
    return "\n".join(lines) + "\n"


def _counts(outcomes: Sequence[Outcome]) -> list[str]:
    """Rows of the table of verdicts: one for each source, and one for all."""
    rows = []
    groups: list[tuple[str, Sequence[Outcome]]] = [(_WHOSE[origin], [o for o in outcomes if o.claim.origin == origin]) for origin in _WHOSE]
    for whose, group in [*groups, ("all", outcomes)]:
        counts = Counter(outcome.status for outcome in group)
        needing = sum(outcome.status == "holds" and bool(_needed(outcome)) for outcome in group)
        rows.append(f"| {whose} | {len(group)} | {counts['holds']} | {needing} | {counts['conditional']} | {counts['refuted']} |")
    return rows


def _paper_items(outcomes: Sequence[Outcome]) -> list[str]:
    """Rows of the paper's statements, in the order of the ledger, with the claims that check each."""
    items: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.claim.paper_item:
            items.setdefault(outcome.claim.paper_item, []).append(f"{_link(outcome)} {outcome.status}")
    return [f"| {item} | {', '.join(claims)} |" for item, claims in items.items()]


def _needed(outcome: Outcome) -> tuple[str, ...]:
    return outcome.evidence.needed if outcome.evidence else ()


def status_text(outcome: Outcome) -> str:
    """The verdict, and the stated assumptions without which it would not be."""
    needed = "; ".join(_needed(outcome))
    return f"{outcome.status}, needs: {needed}" if needed else outcome.status


def _connections() -> list[str]:
    """The table of the weights implied by other methods (theory section 9)."""
    lines = [
        "## Connections: the weights of other methods",
        "",
        "Efficiency of each weight if SNR^2 ~ p(1-p) with uniform p, and its worst case if SNR^2 ~ p(1-p) e^eps, |eps| <= 0.3. SPEED-RL",
        "(arXiv 2506.09016) bounds the SNR of RLOO's gradient by 4 N p(1-p), and PCL (arXiv 2510.01135) finds gradients largest near p = 1/2:",
        "both speak of policy gradients, not of distillation.",
        "",
        "| Method | Optimal if SNR^2 is proportional to | Efficiency | Worst case |",
        "|---|---|---|---|",
    ]
    return lines + [
        f"| {row.method} | {row.implied_snr_squared} | {row.efficiency:.4f} | {row.worst_case:.4f} |" for row in connections_table()
    ]


def _entry(outcome: Outcome) -> list[str]:
    claim, evidence = outcome.claim, outcome.evidence
    lines = [
        f"### {claim.id}",
        "",
        f"{claim.statement} **{outcome.status.capitalize()}.**",
        "",
        f"    {claim.formula}",
        "",
        f"- Source: {claim.source}. Assumptions: {claim.assumptions}.",
    ]
    if evidence is None:
        return [*lines, f"- The check failed: {outcome.error}"]
    label = f"{evidence.main.what}: " if evidence.main.what else ""
    lines.append(f"- Check: {claim.route}. Found {label}{comparison_text(evidence.main)}.")
    lines += [f"- Also {c.what}: {comparison_text(c)}." for c in evidence.also]
    if evidence.derivation:
        lines.append(f"- Derivation (sympy): {evidence.derivation.identity}{'' if evidence.derivation.holds else ' - FAILED'}.")
    for attack in evidence.attacks:
        if attack.drops:
            verdict = "still true" if attack.survived else f"no longer true; {attack.condition}"
            lines.append(f'- Without "{attack.drops}" ({attack.what}): {verdict}.')
        else:
            lines.append(f"- Attack: {attack.what}. {'Survived' if attack.survived else f'Needs: {attack.condition}'}.")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _link(outcome: Outcome) -> str:
    return f"[{outcome.claim.id}](#{outcome.claim.id.replace('.', '')})"
