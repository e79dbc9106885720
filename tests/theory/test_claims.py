"""The ledger: its rules on synthetic claims, its completeness, and every recorded verdict computed again."""

import re
import time
from pathlib import Path

import numpy as np
import pytest

import paced_theory
from paced_theory.claims import ORIGINS, SECTIONS, counts_by_source, ledger, run, sections
from paced_theory.claims.ledger import Attack, Claim, Comparison, Derivation, Evidence, Outcome, Section, decimals, number
from paced_theory.claims.report import comparison_text, markdown, record, summary, table_row

PACKAGE = Path(paced_theory.__file__).parent
GOOD = Comparison(1.0, 1.0, 1e-9)
BAD = Comparison(1.1, 1.0, 1e-9, what="area")
BROKEN = Attack("heavy tails", False, "light tails")
NEEDED = Attack("dependence", False, "false then", drops="independence")


@pytest.fixture(scope="module")
def timed_run():
    """The outcomes by id and the processor seconds they took: other programs on the machine do not count."""
    start = time.process_time()
    outcomes = {claim.id: run(claim) for claim in ledger()}
    return outcomes, time.process_time() - start


@pytest.fixture(scope="module")
def outcomes(timed_run):
    return timed_run[0]


def claim(check, recorded="holds", name="test.claim", source="ours"):
    return Claim(name, "One is one.", "1 = 1 | 2", source, "none", "by hand", "file.py", recorded, check)


@pytest.mark.parametrize(
    ("relation", "value", "holds"),
    [("=", 1.1, True), ("=", 0.9, True), ("=", 1.11, False), ("=", 0.89, False)]
    + [("<=", 0.0, True), ("<=", 1.1, True), ("<=", 1.11, False), (">=", 9.0, True), (">=", 0.9, True), (">=", 0.89, False)]
    + [(relation, float("nan"), False) for relation in ("=", "<=", ">=")],
)
def test_comparisons(relation, value, holds):
    assert Comparison(value, 1.0, 0.1 + 1e-12, relation).holds is holds


@pytest.mark.parametrize(
    ("evidence", "status"),
    [
        (Evidence(GOOD), "holds"),
        (Evidence(BAD), "refuted"),
        (Evidence(GOOD, (BAD,)), "refuted"),
        (Evidence(GOOD, (GOOD,), Derivation("x", True)), "holds"),
        (Evidence(GOOD, (), Derivation("x", False)), "refuted"),
        (Evidence(GOOD, attacks=(BROKEN,)), "conditional"),
        (Evidence(GOOD, attacks=(Attack("x", True, "y"),)), "holds"),
        (Evidence(GOOD, attacks=(NEEDED,)), "holds"),
        (Evidence(BAD, attacks=(BROKEN,)), "refuted"),
        (Evidence(GOOD, attacks=(NEEDED, BROKEN)), "conditional"),
    ],
)
def test_status_follows_from_the_evidence(evidence, status):
    assert evidence.status == status
    assert run(claim(lambda: evidence)).status == status
    assert evidence.conditions == (("light tails",) if BROKEN in evidence.attacks else ())
    assert evidence.needed == (("independence",) if NEEDED in evidence.attacks else ())


def test_an_assumption_that_was_dropped_in_vain_is_not_needed():
    assert Evidence(GOOD, attacks=(Attack("x", True, "y", drops="z"),)).needed == ()


@pytest.mark.parametrize(
    ("source", "origin", "item"),
    [
        ("PACED Prop. 1 (Pinsker, sqrt(2 KL)); the constant ours", "paper", "Prop. 1"),
        ("PACED eq. 33", "paper", "eq. 33"),
        ("PACED, text after eq. 33", "paper", "text after eq. 33"),
        ("PACED's robustness theorem; constants ours", "paper", "robustness theorem"),
        ("standard (U-statistics)", "standard", ""),
        ("ours (exact constant of PACED's robustness theorem)", "ours", ""),
    ],
)
def test_whose_statement_it_is_follows_from_the_source(source, origin, item):
    entry = claim(None, source=source)
    assert entry.origin == origin and entry.paper_item == item


@pytest.mark.parametrize("source", ["", "the paper", "our own", "Standard"])
def test_sources_that_say_no_origin_are_refused(source):
    with pytest.raises(ValueError, match=rf"^source of test.claim must begin with PACED, standard, ours, got {source!r}$"):
        claim(None, source=source)


def test_counts_by_source_of_outcomes_and_of_the_recorded_verdicts():
    outcomes = [
        Outcome(claim(None, source="PACED Prop. 1"), Evidence(GOOD), 0.0),
        Outcome(claim(None, source="PACED Prop. 1"), Evidence(BAD), 0.0),
        Outcome(claim(None), None, 0.0, "ValueError: no"),
    ]
    assert counts_by_source(outcomes) == {"paper": {"holds": 1, "refuted": 1}, "standard": {}, "ours": {"error": 1}}
    assert list(counts_by_source([])) == list(ORIGINS) == ["paper", "standard", "ours"]
    recorded = [(entry.origin, entry.recorded) for entry in ledger()]
    for origin, counts in counts_by_source().items():
        assert counts == {verdict: recorded.count((origin, verdict)) for of, verdict in set(recorded) if of == origin}
    assert counts_by_source()["paper"].total() == 24 and counts_by_source()["paper"]["refuted"] == 0


def test_a_check_that_raises_is_an_error_with_a_one_line_reason():
    def check():
        raise ValueError("two\nlines")

    outcome = run(claim(check))
    assert outcome.status == "error" and outcome.error == "ValueError: two lines" and outcome.evidence is None
    assert not outcome.as_recorded and 0 <= outcome.seconds < 1
    assert record(outcome)["error"] == "ValueError: two lines" and record(outcome)["value"] is None
    assert "- The check failed: ValueError: two lines" in markdown([section_of(outcome.claim)], [outcome])


def section_of(*claims):
    section = Section("test", "Tests", "file.py")
    section.claims.extend(claims)
    return section


def test_sections_register_claims_in_order():
    section = Section("area", "Areas", "file.py")
    texts = {**{key: key for key in ("statement", "formula", "source", "assumptions", "route")}, "source": "ours (source)"}

    @section.claim("first", **texts)
    def first():
        return Evidence(GOOD)

    @section.claim("second", **texts, recorded="refuted")
    def second():
        return Evidence(BAD)

    assert [c.id for c in section.claims] == ["area.first", "area.second"]
    assert section.claims[0].check is first and section.claims[0].recorded == "holds" and section.claims[1].recorded == "refuted"
    entry = section.claims[0]
    assert {key: getattr(entry, key) for key in texts} == texts and entry.file == "file.py"
    assert all(run(c).as_recorded for c in section.claims)


@pytest.mark.parametrize(
    ("value", "tolerance", "text"),
    [
        (0.91513696, 1e-4, "0.9151"),
        (0.5, 1e-6, "0.5"),
        (2.0, 1e-3, "2"),
        (-1e-9, 1e-4, "0"),
        (100.0, 0.5, "100"),
        (1.23456, 0, "1.235"),
        (1 / 3, 1e-15, "0.333333333333"),
        (1.26, 2.0, "1.3"),
    ],
)
def test_numbers_carry_the_digits_their_tolerance_vouches_for(value, tolerance, text):
    assert number(value, tolerance) == text


def test_decimals():
    assert [decimals(t) for t in (0.5, 0.1, 0.05, 2e-3, 1e-3, 1e-20, 10.0)] == [1, 1, 2, 3, 3, 12, 1]


def test_comparison_text():
    assert comparison_text(Comparison(0.5, 0.5, 0.01)) == "0.5 = 0.5 (tolerance 0.01)"
    assert comparison_text(Comparison(0.5, 0.4, 0.01)) == "0.5 = 0.4 (tolerance 0.01), which fails"
    assert comparison_text(Comparison(0.5, 0.4, 0.0, ">=")) == "0.5 >= 0.4"


def test_table_rows():
    holds = Outcome(claim(lambda: Evidence(GOOD)), Evidence(GOOD), 0.26)
    assert table_row(holds, 3, 70) == f"[ 3/70] {'test.claim':38} holds       1 = 1 (tolerance 1e-09)  0.3 s"
    conditional = Outcome(claim(None, "conditional"), Evidence(Comparison(1, 1, 0.1, what="area"), attacks=(BROKEN, NEEDED)), 0.0)
    assert table_row(conditional, 1, 1).splitlines() == [
        f"[1/1] {'test.claim':38} conditional area: 1 = 1 (tolerance 0.1)  0.0 s",
        "      needs: light tails",
    ]
    wrong = Outcome(claim(None), Evidence(GOOD, (BAD,), Derivation("1 = 2", False), (BROKEN, NEEDED)), 0.0)
    assert table_row(wrong, 1, 1).splitlines()[1:] == [
        "      NOT AS RECORDED: the ledger says 'holds'",
        "      area: 1.1 = 1 (tolerance 1e-09), which fails",
        "      failed: derivation: 1 = 2",
        "      broken by: heavy tails",
    ]
    unnamed = Outcome(claim(None), Evidence(Comparison(2, 1, 0.1)), 0.0)
    assert table_row(unnamed, 1, 1).splitlines()[2] == "      value: 2 = 1 (tolerance 0.1), which fails"
    error = Outcome(claim(None), None, 0.0, "ValueError: no")
    assert table_row(error, 1, 1).splitlines()[0] == f"[1/1] {'test.claim':38} error       ValueError: no  0.0 s"
    assert table_row(error, 1, 1).splitlines()[1:] == ["      NOT AS RECORDED: the ledger says 'holds'", "      ValueError: no"]


def test_summary():
    good, bad = Outcome(claim(None), Evidence(GOOD), 1.0), Outcome(claim(None), Evidence(BAD), 0.5)
    assert summary([good]) == "1 claims: 1 holds (ours 1: 1 holds); all as recorded; 1.0 s"
    assert summary([good, bad, good]) == "3 claims: 2 holds, 1 refuted (ours 3: 2 holds, 1 refuted); 1 NOT as recorded; 2.5 s"
    partly, failed = (
        Outcome(claim(None, "conditional"), Evidence(GOOD, attacks=(BROKEN,)), 0.0),
        Outcome(claim(None, source="PACED Prop. 1"), None, 0.0, "ValueError: no"),
    )
    texts = "the paper's 1: 1 error; ours 1: 1 conditional"
    assert summary([partly, failed]) == f"2 claims: 1 conditional, 1 error ({texts}); 1 NOT as recorded; 0.0 s"


def test_record_of_a_claim_with_everything():
    evidence = Evidence(Comparison(float("nan"), 1.0, 0.1, "<="), (), Derivation("x", False), (BROKEN, NEEDED, Attack("w", True, "v")))
    entry = record(Outcome(claim(None), evidence, 1.23456))
    assert entry["value"] is None and entry["expected"] == 1.0 and entry["relation"] == "<=" and entry["tolerance"] == 0.1
    assert entry["derivation"] == {"identity": "x", "holds": False} and entry["conditions"] == ["light tails"]
    assert entry["needed"] == ["independence"] and entry["attacks"] == [
        {"what": "heavy tails", "survived": False, "drops": None, "then": "light tails"},
        {"what": "dependence", "survived": False, "drops": "independence", "then": "false then"},
        {"what": "w", "survived": True, "drops": None, "then": ""},
    ]
    assert entry["seconds"] == 1.235 and entry["status"] == "refuted" and entry["recorded"] == "holds"
    texts = {
        "id": "test.claim",
        "statement": "One is one.",
        "formula": "1 = 1 | 2",
        "source": "ours",
        "assumptions": "none",
        "route": "by hand",
    }
    assert {key: entry[key] for key in texts} == texts and entry["file"] == "file.py" and entry["origin"] == "ours"
    assert record(Outcome(claim(None), Evidence(GOOD), 0.0))["derivation"] is None


def test_markdown_page():
    attacks = (BROKEN, NEEDED, Attack("x", True, "y"), Attack("z", True, "y", drops="w"))
    full = Outcome(
        claim(None, "conditional"), Evidence(GOOD, (Comparison(2, 2, 0.1, what="two"),), Derivation("1 = 1", True), attacks), 9.0
    )
    other = Outcome(claim(None, name="test.other"), Evidence(BAD, derivation=Derivation("1 = 2", False)), 9.0)
    papers = Outcome(claim(None, name="test.papers", source="PACED Prop. 9 (x)"), Evidence(GOOD, attacks=(NEEDED,)), 9.0)
    known = section_of(full.claim, other.claim, papers.claim, claim(None, name="test.unrun"))
    page = markdown([known, Section("empty", "Empty", "x.py")], [full, other, papers])
    assert (
        "| the paper's | 1 | 1 | 1 | 0 | 0 |\n| standard | 0 | 0 | 0 | 0 | 0 |\n| ours | 2 | 0 | 0 | 1 | 1 |\n| all | 3 | 1 | 1 | 1 | 1 |\n"
        in page
    )
    assert "| Statement | Claims |\n|---|---|\n| Prop. 9 | [test.papers](#testpapers) holds |\n\n" in page
    assert "| [test.claim](#testclaim) | One is one. | conditional, needs: independence |" in page
    assert "| [test.papers](#testpapers) | One is one. | holds, needs: independence |" in page
    assert "## Tests\n\nImplemented in `file.py`, checked in `paced_theory/claims/test.py`.\n\n### test.claim\n" in page
    assert "One is one. **Conditional.**\n\n    1 = 1 | 2\n\n- Source: ours. Assumptions: none.\n" in page
    assert "- Check: by hand. Found 1 = 1 (tolerance 1e-09).\n- Also two: 2 = 2 (tolerance 0.1).\n- Derivation (sympy): 1 = 1.\n" in page
    assert "- Attack: heavy tails. Needs: light tails.\n" in page and "- Attack: x. Survived.\n" in page
    assert '- Without "independence" (dependence): no longer true; false then.\n' in page and '- Without "w" (z): still true.\n' in page
    assert "Found area: 1.1 = 1 (tolerance 1e-09), which fails.\n- Derivation (sympy): 1 = 2 - FAILED.\n" in page
    assert "| GRPO | sqrt(p(1-p)) | 0.9759 | 0.8552 |\n" in page
    assert "Empty" not in page and "unrun" not in page and "9.0" not in page


def test_fixed_parts_of_the_page_are_those_in_docs():
    page = (PACKAGE.parent / "docs" / "theory.md").read_text().splitlines()
    fixed = markdown([], []).splitlines()
    counts = [row for row in fixed if row.endswith("| 0 | 0 | 0 | 0 | 0 |")]
    assert len(counts) == 4
    assert page[:9] == fixed[:9] and set(fixed) - set(counts) <= set(page) and "## Connections: the weights of other methods" in fixed


def test_pages_escape_bars_in_tables_only():
    entry = Claim("test.bars", "|x| is even.", "|x|", "ours", "none", "by hand", "file.py", "holds", None)
    page = markdown([section_of(entry)], [Outcome(entry, Evidence(GOOD), 0.0)])
    assert "| [test.bars](#testbars) | \\|x\\| is even. | holds |\n" in page
    assert "\n|x| is even. **Holds.**\n\n    |x|\n" in page


def test_ledger_is_complete():
    claims = ledger()
    ids = [claim.id for claim in claims]
    assert len(claims) >= 30 and len(set(ids)) == len(ids)
    assert [section.name for section in sections()] == list(SECTIONS)
    for section in sections():
        assert section.claims and (PACKAGE.parent / section.file).is_file() and (PACKAGE / "claims" / f"{section.name}.py").is_file()
        for entry in section.claims:
            assert re.fullmatch(rf"{section.name}\.[a-z0-9-]+", entry.id) and entry.file == section.file
            assert entry.statement.endswith(".") and all((entry.formula, entry.source, entry.assumptions, entry.route))
            assert all("\n" not in text for text in (entry.statement, entry.formula, entry.source, entry.assumptions, entry.route))


def test_every_theory_section_of_the_package_has_claims():
    modules = {claim.file for claim in ledger()}
    assert {f"paced_theory/{name}.py" for name in SECTIONS} == modules


@pytest.mark.slow
@pytest.mark.parametrize("entry", ledger(), ids=lambda entry: entry.id)
def test_verdict_is_as_recorded(entry, outcomes):
    outcome = outcomes[entry.id]
    assert outcome.error == "" and outcome.as_recorded, table_row(outcome, 1, 1)


@pytest.mark.slow
def test_ledger_takes_at_most_90_seconds_of_one_core(timed_run):
    assert timed_run[1] <= 90


@pytest.mark.slow
def test_attacks_that_break_a_claim_name_a_condition(outcomes):
    for outcome in outcomes.values():
        for attack in outcome.evidence.attacks:
            assert attack.what and (attack.survived or attack.condition), outcome.claim.id


@pytest.mark.slow
def test_what_an_attack_drops_is_stated_by_the_claim(outcomes):
    dropped = [(o.claim, attack.drops) for o in outcomes.values() for attack in o.evidence.attacks if attack.drops is not None]
    assert len(dropped) >= 15
    assert [(entry.id, drops) for entry, drops in dropped if drops not in entry.assumptions] == []


@pytest.mark.slow
def test_most_claims_are_attacked_or_derived(outcomes):
    backed = [o for o in outcomes.values() if o.evidence.attacks or o.evidence.derivation or o.evidence.also]
    assert len(backed) >= 0.9 * len(outcomes)
    assert sum(o.evidence.derivation is not None for o in outcomes.values()) >= 25
    assert sum(bool(o.evidence.attacks) for o in outcomes.values()) >= 25


@pytest.mark.slow
def test_the_page_in_docs_is_what_the_ledger_says(outcomes):
    page = (PACKAGE.parent / "docs" / "theory.md").read_text()
    fresh = markdown(sections(), list(outcomes.values()))
    assert page == fresh, "docs/theory.md is out of date: run python -m paced_theory.verify --markdown > docs/theory.md"


@pytest.mark.parametrize(
    ("module", "name", "wrong", "refuted"),
    [
        ("claims.robustness", "worst_case_efficiency", lambda delta: 1 - delta**2, "robustness.worst-case"),
        ("claims.convergence", "variance_ratio", lambda *a, **k: 1.0, "convergence.ratio-closed-form"),
        ("claims.estimation", "posterior_weight", lambda k, K, *a, **k_: (k + 1) / (K + 2), "estimation.posterior-closed-form"),
        ("claims.estimation", "unbiased_weight", lambda k, K, *a: k * (K - k) / K**2, "estimation.unbiased"),
        ("claims.collapse", "log_pass_rate_floor", lambda B, V, L: -L * (2 * B + np.log(V)), "collapse.bounded-logits"),
    ],
)
def test_a_wrong_formula_is_refuted(monkeypatch, module, name, wrong, refuted):
    monkeypatch.setattr(f"paced_theory.{module}.{name}", wrong)
    outcome = run(next(claim for claim in ledger() if claim.id == refuted))
    assert outcome.status == "refuted" and not outcome.as_recorded
