"""The rule decides synthetic records whose truth is known: clear effects either way, none, too few seeds, margins, several contrasts."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import write_checked
from paced_exp.reproduce.c1 import probe_findings
from paced_exp.reproduce.cells import row_cells
from paced_exp.reproduce.claims import CLAIMS, MARGIN, Contrast, Hypothesis
from paced_exp.reproduce.findings import LEVEL, Finding, Outcome, Size
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.records import Results, read_sealed, write_record
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.reported_effects import reported_effect
from paced_exp.reproduce.scales import DESK_V1
from paced_exp.reproduce.significance import Estimate, crossed, holm
from paced_exp.reproduce.verdict_parts import untested
from paced_exp.reproduce.verdicts import finding_of, findings_by_name, outcomes
from tests.support.synthetic import content_of, scores, write_base, write_probe, write_row

BETTER = Hypothesis("X", "paced - uniform", (Contrast("distillation", ((1.0, "paced"), (-1.0, "uniform"))),))


def judged(results: Path, hypothesis: Hypothesis = BETTER) -> Finding:
    finding = finding_of(hypothesis, Results(results), DESK_V1)
    return dataclasses.replace(finding, holm=finding.p)


@pytest.mark.parametrize(
    ("paced", "uniform", "verdict"),
    [(0.7, 0.4, "replicates"), (0.4, 0.7, "contradicted"), (0.5, 0.502, "not decided")],
)
def test_a_difference_is_judged_by_its_sign_and_interval(tmp_path: Path, paced: float, uniform: float, verdict: str) -> None:
    write_row(tmp_path, "distillation", "paced", paced)
    write_row(tmp_path, "distillation", "uniform", uniform)
    finding = judged(tmp_path)
    assert finding.verdict == verdict
    assert finding.value is not None and finding.value == pytest.approx(100 * (paced - uniform), abs=4)
    assert finding.n == "5 seeds × 180 problems"


def test_two_seeds_decide_nothing(tmp_path: Path) -> None:
    write_row(tmp_path, "distillation", "paced", 0.9)
    write_row(tmp_path, "distillation", "uniform", 0.1, seeds=2)
    finding = judged(tmp_path)
    assert (
        finding.verdict == "not decided"
        and finding.missing == "2 of 5 planned seeds: distillation/uniform lacks seed 2, 3, 4; 3 are needed"
    )


def test_planned_seeds_decide_neither_fewer_nor_more(tmp_path: Path) -> None:
    """Three seeds of five show the effect and decide nothing; a sixth and seventh that would turn it round are not read."""
    write_row(tmp_path, "distillation", "paced", lambda seed: 0.9 if seed < DESK_V1.seeds[0] else 0.0, seeds=3)
    write_row(tmp_path, "distillation", "uniform", 0.4)
    early = judged(tmp_path)
    assert (
        early.verdict == "not decided"
        and early.missing == "3 of 5 planned seeds: distillation/paced lacks seed 3, 4"
        and early.value == pytest.approx(50, abs=4)
    )
    family = {finding.hypothesis: finding for outcome in outcomes(Results(tmp_path), DESK_V1) for finding in outcome.findings}
    assert family["C2.distillation"].holm == 1.0
    write_row(tmp_path, "distillation", "paced", lambda seed: 0.9 if seed < DESK_V1.seeds[0] else 0.0, seeds=5)
    planned = judged(tmp_path)
    write_row(tmp_path, "distillation", "paced", lambda seed: 0.9 if seed < DESK_V1.seeds[0] else 0.0, seeds=7)
    write_row(tmp_path, "distillation", "uniform", 0.4, seeds=7)
    assert planned.verdict == "replicates" and judged(tmp_path) == planned


def test_what_was_not_run_is_named(tmp_path: Path) -> None:
    write_row(tmp_path, "distillation", "paced", 0.9)
    assert judged(tmp_path).missing == "not run: distillation/uniform"


def test_seeds_that_disagree_leave_it_undecided(tmp_path: Path) -> None:
    # The mean over seeds is 12 points ahead, but one seed in five makes it all: an interval over problems alone would exclude zero.
    write_row(tmp_path, "distillation", "paced", lambda seed: 0.95 if seed == 0 else 0.4)
    write_row(tmp_path, "distillation", "uniform", 0.4)
    assert judged(tmp_path).verdict == "not decided"


@pytest.mark.parametrize(("k16", "verdict"), [(0.50, "replicates"), (0.55, "contradicted")])
def test_a_margin_turns_no_better_into_a_claim(tmp_path: Path, k16: float, verdict: str) -> None:
    """Equal counts but for a shift of all problems: the seeds agree exactly, so one point is clear."""
    suffices = next(hypothesis for claim in CLAIMS for hypothesis in claim.hypotheses if hypothesis.name == "C8.suffices")
    rng = np.random.default_rng(0)
    same = {source: rng.binomial(4, 0.5, 400) for source in DESK_V1.sources}
    for table, row, gain in (("distillation", "paced", 0.0), ("rollouts", "k16-plugin", k16 - 0.5)):
        for cell in row_cells(DESK_V1, BY_NAME[table], BY_NAME[table].row(row), DESK_V1.seeds[0]):
            flips = np.random.default_rng([1, cell.seed])
            counts = {s: np.where((flips.random(400) < 4 * gain) & (values < 4), values + 1, values) for s, values in same.items()}
            write_record(cell.path(tmp_path), content_of(cell, counts))
    finding = judged(tmp_path, suffices)
    assert finding.verdict == verdict
    if k16 == 0.5:
        assert finding.value == pytest.approx(MARGIN)


def test_all_contrasts_must_hold(tmp_path: Path) -> None:
    for row, accuracy in (("25", 0.3), ("75", 0.6)):
        write_row(tmp_path, "stage-ratio", row, accuracy)
    write_row(tmp_path, "two-stage", "forward-reverse", 0.6)
    ratio = next(hypothesis for claim in CLAIMS for hypothesis in claim.hypotheses if hypothesis.name == "C7.ratio")
    assert len(ratio.contrasts) == 2
    alone = Hypothesis("one", "50 - 25", ratio.contrasts[:1])
    assert judged(tmp_path, alone).verdict == "replicates" and judged(tmp_path, ratio).verdict == "not decided"
    write_row(tmp_path, "stage-ratio", "75", 0.9)
    against = judged(tmp_path, ratio)
    assert against.verdict == "contradicted" and against.value == pytest.approx(-30, abs=4)


def test_retention_and_the_hardest_tier_are_taken_alone(tmp_path: Path) -> None:
    for row, retention, hardest in (("paced", 0.9, 0.2), ("uniform", 0.5, 0.6)):
        for cell in row_cells(DESK_V1, BY_NAME["distillation"], BY_NAME["distillation"].row(row), 4):
            levels = dict(zip(DESK_V1.sources, (0.5, 0.5, hardest, retention), strict=True))
            counts = {source: scores(DESK_V1, level, cell.seed)[source] for source, level in levels.items()}
            write_record(cell.path(tmp_path), content_of(cell, counts))
    terms = ((1.0, "paced"), (-1.0, "uniform"))
    assert judged(tmp_path, Hypothesis("r", "", (Contrast("distillation", terms, "retention"),))).value == pytest.approx(40, abs=6)
    assert judged(tmp_path, Hypothesis("h", "", (Contrast("distillation", terms, "hardest"),))).value == pytest.approx(-40, abs=6)


NUMBERS: dict[str, dict[str, Any]] = {
    "replicates": {"value": 1.0, "low": 0.5, "high": 1.5, "p": 0.001, "holm": 0.001},
    "contradicted": {"value": -1.0, "low": -1.5, "high": -0.5, "p": 0.001, "holm": 0.001, "towards": False},
    "equivalent within 1 point": {
        "value": 0.1,
        "low": -0.2,
        "high": 0.4,
        "p": 0.6,
        "holm": 1.0,
        "p_equivalent": 1e-4,
        "holm_equivalent": 1e-3,
    },
    "smaller than reported": {
        "value": 1.0,
        "low": 0.5,
        "high": 1.5,
        "p": 0.001,
        "holm": 0.001,
        "size": Size(0.1, 0.05, 0.15, 10.0, 0.4, 0.0, 4.0, 1e-4, 1e-3),
    },
    "not decided": {"value": 1.0, "low": 0.1, "high": 1.9, "p": 0.03, "holm": 0.3},
}


def named(verdict: str, **further: Any) -> Finding:
    made = Finding("h", "", "points", **NUMBERS[verdict] | further)
    assert made.verdict == verdict
    return made


@pytest.mark.parametrize(
    ("verdicts", "claim"),
    [
        (["replicates", "replicates"], "replicates"),
        (["replicates", "not decided"], "not decided"),
        (["contradicted", "not decided"], "contradicted"),
        (["smaller than reported", "not decided"], "smaller than reported"),
        (["equivalent within 1 point", "not decided"], "not decided"),
        (["equivalent within 1 point", "equivalent within 1 point"], "equivalent within 1 point"),
        (["replicates", "contradicted"], "mixed"),
        (["replicates", "contradicted", "not decided"], "mixed"),
        (["smaller than reported", "contradicted"], "mixed"),
        (["not decided", "not decided"], "not decided"),
        ([], "not decided"),
    ],
)
def test_a_claim_says_all_its_hypotheses(verdicts: list[str], claim: str) -> None:
    assert Outcome(CLAIMS[1], tuple(named(verdict) for verdict in verdicts)).verdict == claim


def test_a_mixed_claim_says_which() -> None:
    found = tuple(
        dataclasses.replace(named(verdict), hypothesis=name)
        for name, verdict in (("a", "replicates"), ("b", "contradicted"), ("c", "replicates"))
    )
    outcome = Outcome(CLAIMS[1], found)
    assert outcome.words == outcome.raw_words == "mixed (replicates: a, c; contradicted: b)"
    assert outcome.both == "mixed (replicates: a, c; contradicted: b), corrected as by the interval alone"


def test_alone_and_corrected_differ_by_holms_p_values_only() -> None:
    assert named("not decided").raw_verdict == "replicates"
    assert named("not decided", **{"p": 0.6, "p_equivalent": 0.04, "holm_equivalent": 0.06}).raw_verdict == "equivalent within 1 point"
    size = dataclasses.replace(NUMBERS["smaller than reported"]["size"], p=0.01, holm=0.06)
    assert named("replicates", size=size).raw_verdict == "smaller than reported"
    assert {named(verdict, missing="2 of 5 planned seeds").raw_verdict for verdict in ["not decided"]} == {"not decided"}


def test_the_first_rule_knows_three_words() -> None:
    said = [named(verdict).first_verdict for verdict in NUMBERS]
    assert said == ["replicates", "does not replicate", "not decided", "replicates", "not decided"]
    assert Outcome(CLAIMS[1], (named("replicates"), named("contradicted"))).first_verdict == "does not replicate"
    assert Outcome(CLAIMS[1], (named("replicates"), named("replicates"))).first_verdict == "replicates"
    assert Outcome(CLAIMS[1], (named("replicates"), named("not decided"))).first_verdict == "not decided"


def test_what_would_have_been_seen_is_seen_as_often_as_that(tmp_path: Path) -> None:
    """By simulation with normal differences over five seeds: at the printed effect four of five studies exclude zero."""
    rng = np.random.default_rng(0)
    estimate = crossed([rng.normal(size=(5, 1)) + np.zeros((5, 40))])
    seeds = rng.normal(size=(20_000, 5)) * estimate.error * np.sqrt(5)
    effect = Estimate(0.0, estimate.error, 4.0).detectable(0.05)
    shifted = seeds + effect
    t = shifted.mean(axis=1) / (shifted.std(axis=1, ddof=1) / np.sqrt(5))
    assert estimate.freedom == pytest.approx(4)
    assert 0.75 < (t > stats.t.ppf(0.975, 4)).mean() < 0.9


def test_missing_seeds_are_said_and_the_family_stays(tmp_path: Path) -> None:
    """Without one seed of one row its hypotheses decide nothing, say which seed is lacking, and count in Holm's family as before."""
    for row, accuracy in (("paced", 0.7), ("uniform", 0.4), ("akl", 0.2), ("hard-filter", 0.3)):
        write_row(tmp_path, "distillation", row, accuracy)
    before = findings_by_name(tmp_path, DESK_V1)
    assert before["C3.akl"].verdict == "replicates"
    (tmp_path / "desk-v1" / "distillation" / "akl-s3.json").unlink()
    found = outcomes(Results(tmp_path), DESK_V1)
    after = findings_by_name(tmp_path, DESK_V1)
    assert after["C3.akl"].missing == "4 of 5 planned seeds: distillation/akl lacks seed 3"
    assert (after["C3.akl"].verdict, after["C3.akl"].raw_verdict, after["C3.akl"].holm) == ("not decided", "not decided", 1.0)
    assert before.keys() == after.keys()
    (note,) = untested(found)
    assert (
        f"of the {len(after)} hypotheses could not be tested, count with p = 1" in note
        and "C3.akl (4 of 5 planned seeds: distillation/akl lacks seed 3)" in note
    )
    assert all(after[name].holm >= before[name].holm for name in ("C2.distillation", "C3.filter"))  # type: ignore[operator]


def filled(tmp_path: Path, uniform: float, paced: float, base: float = 0.3) -> Finding:
    write_base(tmp_path, base)
    write_row(tmp_path, "distillation", "uniform", uniform)
    write_row(tmp_path, "distillation", "paced", paced)
    return findings_by_name(tmp_path, DESK_V1)["C2.distillation"]


def test_an_effect_is_sized_as_a_share_of_what_uniform_gains(tmp_path: Path) -> None:
    """The paper: (2.6 + 3.9 + 3.6) / (7.4 + 9.7 + 9.4) = 0.38. Ours: 2 points of 40, clearly less."""
    finding = filled(tmp_path, 0.7, 0.72)
    assert (
        finding.size is not None and finding.size.reported == pytest.approx(10.1 / 26.5) and finding.size.points == pytest.approx(10.1 / 3)
    )
    assert finding.size.gain == pytest.approx(40, abs=5) and finding.size.value == pytest.approx(0.05, abs=0.08)
    assert (
        finding.size.low is not None and finding.size.high is not None and finding.size.low < finding.size.value < finding.size.high < 0.38
    )
    assert finding.verdict == finding.raw_verdict == "smaller than reported"


def test_an_effect_of_the_papers_size_replicates(tmp_path: Path) -> None:
    assert filled(tmp_path, 0.5, 0.58).verdict == "replicates"


@pytest.mark.parametrize(("base", "uniform"), [(0.5, 0.5), (0.6, 0.4)])
def test_without_a_gain_of_uniform_there_is_no_share(tmp_path: Path, base: float, uniform: float) -> None:
    finding = filled(tmp_path, uniform, uniform, base)
    assert finding.size is None and finding.verdict != "smaller than reported"


def test_the_papers_shares_are_those_of_its_tables() -> None:
    """By hand from the printed means; ± by the delta method with numbers perturbed one at a time."""
    by_name = {hypothesis.name: hypothesis for claim in CLAIMS for hypothesis in claim.hypotheses}

    def share(name: str, contrast: int = 0) -> float:
        effect = reported_effect(by_name[name].contrasts[contrast])
        assert effect is not None
        return effect.share

    distillation, own = (7.4 + 9.7 + 9.4) / 3, (5.0 + 5.7 + 5.4) / 3
    assert share("C2.self") == pytest.approx((4.8 + 6.3 + 8.2) / 3 / own)
    assert share("C3.akl") == pytest.approx((1.8 + 1.2 + 1.5) / 3 / distillation)
    assert share("C3.filter-self") == pytest.approx((1.7 + 2.7 + 3.1) / 3 / own)
    assert share("C5.schedules") == pytest.approx((1.7 + 0.5 + 1.7) / 3 / distillation)
    assert share("C5.hardest") == pytest.approx(5.8 / 9.4)
    assert share("C7.ratio", 1) == pytest.approx((1.3 - 0.8 + 2.2) / 3 / distillation)
    sized = {name for name, hypothesis in by_name.items() if all(reported_effect(contrast) for contrast in hypothesis.contrasts)}
    assert sized == {
        "C2.distillation",
        "C2.self",
        "C3.akl",
        "C3.filter",
        "C3.akl-self",
        "C3.filter-self",
        "C5.schedules",
        "C5.hardest",
        "C7.ratio",
    }

    base, uniform, paced = (np.array(row) for row in ([69.4, 11.5, 7.6], [76.8, 21.2, 17.0], [79.4, 25.1, 20.6]))
    deviations = [np.array(row) / np.sqrt(8) for row in ([0.4, 0.9, 0.7], [0.3, 1.3, 0.9], [0.5, 1.0, 0.7])]
    rng = np.random.default_rng(0)
    base_, uniform_, paced_ = (
        mean + rng.normal(size=(200_000, 3)) * sd for mean, sd in zip((base, uniform, paced), deviations, strict=True)
    )
    drawn = (paced_ - uniform_).mean(axis=1) / (uniform_ - base_).mean(axis=1)
    effect = reported_effect(by_name["C2.distillation"].contrasts[0])
    assert effect is not None and effect.error == pytest.approx(drawn.std(), rel=0.03)


def test_holm_is_over_every_hypothesis_written_down(tmp_path: Path) -> None:
    write_row(tmp_path, "distillation", "paced", 0.7)
    write_row(tmp_path, "distillation", "uniform", 0.4)
    found = outcomes(Results(tmp_path), DESK_V1)
    assert [outcome.claim.id for outcome in found] == list(Reported().claims)
    family = [finding for outcome in found for finding in outcome.findings]
    tested = {finding.hypothesis: finding for finding in family if finding.p is not None}
    assert set(tested) == {"C2.distillation", "C4.distillation"}
    p = [finding.p if finding.p is not None else 1.0 for finding in family]
    assert tested["C2.distillation"].holm == pytest.approx(holm(p)[[f.hypothesis for f in family].index("C2.distillation")])
    assert tested["C2.distillation"].holm <= LEVEL < 1
    # Replicated for distillation, not run for self-distillation: the claim is open.
    assert next(outcome for outcome in found if outcome.claim.id == "C2").verdict == "not decided"


def test_every_contrast_names_rows_that_exist() -> None:
    names = [hypothesis.name for claim in CLAIMS for hypothesis in claim.hypotheses]
    assert len(set(names)) == len(names)
    for claim in CLAIMS:
        for hypothesis in claim.hypotheses:
            assert hypothesis.name.startswith(claim.id + ".")
            for contrast in hypothesis.contrasts:
                assert all(BY_NAME[contrast.table].row(name) for _, name in contrast.terms)
                assert sum(factor for factor, _ in contrast.terms) == 0


@pytest.mark.parametrize(
    ("difference", "middle_low", "verdict"),
    [
        ((-0.4, -0.5, -0.3), 0.1, "replicates"),
        ((0.4, 0.3, 0.5), 0.1, "contradicted"),
        ((-0.1, -0.5, 0.3), 0.1, "not decided"),
        ((-0.4, -0.5, -0.3), -0.1, "not decided"),
    ],
)
def test_the_probe_decides_c1(tmp_path: Path, difference: tuple[float, float, float], middle_low: float, verdict: str) -> None:
    """Claimed: SNR^2 at the end is below half of the middle's, so a negative difference is a positive effect."""
    write_probe(tmp_path, difference, middle_low)
    low, high, *later = probe_findings(tmp_path, DESK_V1)
    assert dataclasses.replace(low, holm=low.p).verdict == dataclasses.replace(high, holm=high.p).verdict == verdict
    assert low.value == pytest.approx(-difference[0]) and low.n == "40 problems a bin"
    assert [finding.missing for finding in later] == ["not run: the probe at step 20"] * 2


def test_the_verdict_with_more_problems_a_bin_goes_before_the_quick_probe(tmp_path: Path) -> None:
    write_probe(tmp_path, (-0.1, -0.5, 0.3))
    write_probe(tmp_path, (0.4, 0.3, 0.5), folder="snr_verdict/qwen3")
    low = probe_findings(tmp_path, DESK_V1)[0]
    assert low.value == pytest.approx(-0.4) and [path.parent.name for path in low.records] == ["qwen3"]
    assert low.command == "python -m paced_exp.reproduce --scale desk-v1 --table figure2"


def test_a_probe_at_several_updates_decides_each(tmp_path: Path) -> None:
    write_probe(tmp_path, (-0.4, -0.5, -0.3), steps=(1, 20))
    findings = probe_findings(tmp_path, DESK_V1)
    assert [dataclasses.replace(finding, holm=finding.p).verdict for finding in findings] == ["replicates"] * 4
    assert findings[-1].command == "python -m paced_exp.reproduce --scale desk-v1 --table figure2"


def test_a_probe_record_of_other_options_decides_nothing(tmp_path: Path) -> None:
    path = write_probe(tmp_path, (0.4, 0.3, 0.5))
    record = read_sealed(path)
    write_checked(path, record | {"config": record["config"] | {"K": 2}})
    with pytest.raises(UserError, match=r"K \(2 there, 10 now\)"):
        probe_findings(tmp_path, DESK_V1)
    path.write_text("{}")
    with pytest.raises(UserError, match="is no record of a probe"):
        outcomes(Results(tmp_path), DESK_V1)


def test_the_verdict_in_a_probe_record_is_not_believed(tmp_path: Path) -> None:
    """A sign turned in the verdict alone contradicts the bins, whatever the checksum."""
    path = write_probe(tmp_path, (0.4, 0.3, 0.5))
    record = read_sealed(path)
    for name in ("difference", "difference_low", "difference_high"):
        record["verdict"]["low"][name] *= -1
    write_checked(path, record)
    with pytest.raises(UserError, match=r"verdict low: difference is -0.4\d*, and 0.4\d* follows from its bins"):
        outcomes(Results(tmp_path), DESK_V1)
