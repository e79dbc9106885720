"""The rule decides synthetic records whose truth is known: clear effects either way, none, too few seeds, margins, several contrasts."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import content_of, scores, write_probe, write_row

from paced_exp.errors import UserError
from paced_exp.json_files import write_checked
from paced_exp.reproduce.cells import row_cells
from paced_exp.reproduce.claims import CLAIMS, MARGIN, Contrast, Hypothesis
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.records import Results, read_sealed, write_record
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.scales import DESK
from paced_exp.reproduce.statistics import holm
from paced_exp.reproduce.verdicts import LEVEL, Finding, Outcome, outcomes, probe_findings, test

BETTER = Hypothesis("X", "paced - uniform", (Contrast("distillation", ((1.0, "paced"), (-1.0, "uniform"))),))


def judged(results: Path, hypothesis: Hypothesis = BETTER) -> Finding:
    finding = test(hypothesis, Results(results), DESK)
    return dataclasses.replace(finding, holm=finding.p)


@pytest.mark.parametrize(
    ("paced", "uniform", "verdict"),
    [(0.7, 0.4, "replicates"), (0.4, 0.7, "does not replicate"), (0.5, 0.502, "not decided")],
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
    assert finding.verdict == "not decided" and finding.missing == "2 common seeds, 3 are needed"


def test_planned_seeds_decide_neither_fewer_nor_more(tmp_path: Path) -> None:
    """Three seeds of five show the effect and decide nothing; a sixth and seventh that would turn it round are not read."""
    write_row(tmp_path, "distillation", "paced", lambda seed: 0.9 if seed < DESK.seeds[0] else 0.0, seeds=3)
    write_row(tmp_path, "distillation", "uniform", 0.4)
    early = judged(tmp_path)
    assert early.verdict == "not decided" and early.missing == "3 of 5 planned seeds" and early.value == pytest.approx(50, abs=4)
    family = {finding.hypothesis: finding for outcome in outcomes(Results(tmp_path), DESK) for finding in outcome.findings}
    assert family["C2.distillation"].holm == 1.0
    write_row(tmp_path, "distillation", "paced", lambda seed: 0.9 if seed < DESK.seeds[0] else 0.0, seeds=5)
    planned = judged(tmp_path)
    write_row(tmp_path, "distillation", "paced", lambda seed: 0.9 if seed < DESK.seeds[0] else 0.0, seeds=7)
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


@pytest.mark.parametrize(("k16", "verdict"), [(0.50, "replicates"), (0.55, "does not replicate")])
def test_a_margin_turns_no_better_into_a_claim(tmp_path: Path, k16: float, verdict: str) -> None:
    """Equal counts but for a shift of all problems: the seeds agree exactly, so one point is clear."""
    suffices = next(hypothesis for claim in CLAIMS for hypothesis in claim.hypotheses if hypothesis.name == "C8.suffices")
    rng = np.random.default_rng(0)
    same = {source: rng.binomial(4, 0.5, 400) for source in DESK.sources}
    for table, row, gain in (("distillation", "paced", 0.0), ("rollouts", "k16-plugin", k16 - 0.5)):
        for cell in row_cells(DESK, BY_NAME[table], BY_NAME[table].row(row), DESK.seeds[0]):
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
    assert against.verdict == "does not replicate" and against.value == pytest.approx(-30, abs=4)


def test_retention_and_the_hardest_tier_are_taken_alone(tmp_path: Path) -> None:
    for row, retention, hardest in (("paced", 0.9, 0.2), ("uniform", 0.5, 0.6)):
        for cell in row_cells(DESK, BY_NAME["distillation"], BY_NAME["distillation"].row(row), 4):
            levels = dict(zip(DESK.sources, (0.5, 0.5, hardest, retention), strict=True))
            counts = {source: scores(DESK, level, cell.seed)[source] for source, level in levels.items()}
            write_record(cell.path(tmp_path), content_of(cell, counts))
    terms = ((1.0, "paced"), (-1.0, "uniform"))
    assert judged(tmp_path, Hypothesis("r", "", (Contrast("distillation", terms, "retention"),))).value == pytest.approx(40, abs=6)
    assert judged(tmp_path, Hypothesis("h", "", (Contrast("distillation", terms, "hardest"),))).value == pytest.approx(-40, abs=6)


def test_a_claim_needs_all_its_hypotheses() -> None:
    def finding(verdict: str) -> Finding:
        numbers: dict[str, Any] = {
            "replicates": {"value": 1.0, "low": 0.5, "high": 1.5, "p": 0.001, "holm": 0.001},
            "does not replicate": {"value": -1.0, "low": -1.5, "high": -0.5, "p": 0.001, "holm": 0.001, "towards": False},
            "not decided": {"value": 1.0, "low": 0.1, "high": 1.9, "p": 0.03, "holm": 0.3},
        }[verdict]
        made = Finding("h", "", "points", **numbers)
        assert made.verdict == verdict
        return made

    yes, no, open_ = (finding(verdict) for verdict in ("replicates", "does not replicate", "not decided"))
    assert Outcome(CLAIMS[1], (yes, yes)).verdict == "replicates"
    assert Outcome(CLAIMS[1], (yes, open_)).verdict == "not decided"
    assert Outcome(CLAIMS[1], (yes, no)).verdict == "does not replicate"
    assert Outcome(CLAIMS[1], ()).verdict == "not decided"


def test_holm_is_over_every_hypothesis_written_down(tmp_path: Path) -> None:
    write_row(tmp_path, "distillation", "paced", 0.7)
    write_row(tmp_path, "distillation", "uniform", 0.4)
    found = outcomes(Results(tmp_path), DESK)
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
        ((0.4, 0.3, 0.5), 0.1, "does not replicate"),
        ((-0.1, -0.5, 0.3), 0.1, "not decided"),
        ((-0.4, -0.5, -0.3), -0.1, "not decided"),
    ],
)
def test_the_probe_decides_c1(tmp_path: Path, difference: tuple[float, float, float], middle_low: float, verdict: str) -> None:
    """Claimed: SNR^2 at the end is below half of the middle's, so a negative difference is a positive effect."""
    write_probe(tmp_path, difference, middle_low)
    low, high, *later = probe_findings(tmp_path, DESK)
    assert dataclasses.replace(low, holm=low.p).verdict == dataclasses.replace(high, holm=high.p).verdict == verdict
    assert low.value == pytest.approx(-difference[0]) and low.n == "40 problems a bin"
    assert [finding.missing for finding in later] == ["not run: the probe at step 20"] * 2


def test_the_verdict_with_more_problems_a_bin_goes_before_the_quick_probe(tmp_path: Path) -> None:
    write_probe(tmp_path, (-0.1, -0.5, 0.3))
    write_probe(tmp_path, (0.4, 0.3, 0.5), folder="snr_verdict/qwen3")
    low = probe_findings(tmp_path, DESK)[0]
    assert low.value == pytest.approx(-0.4) and [path.parent.name for path in low.records] == ["qwen3"]
    assert low.command == "python -m paced_exp.reproduce --scale desk --table figure2"


def test_a_probe_at_several_updates_decides_each(tmp_path: Path) -> None:
    write_probe(tmp_path, (-0.4, -0.5, -0.3), steps=(1, 20))
    findings = probe_findings(tmp_path, DESK)
    assert [dataclasses.replace(finding, holm=finding.p).verdict for finding in findings] == ["replicates"] * 4
    assert findings[-1].command == "python -m paced_exp.reproduce --scale desk --table figure2"


def test_a_probe_record_of_other_options_decides_nothing(tmp_path: Path) -> None:
    path = write_probe(tmp_path, (0.4, 0.3, 0.5))
    record = read_sealed(path)
    write_checked(path, record | {"config": record["config"] | {"K": 2}})
    with pytest.raises(UserError, match=r"K \(2 there, 10 now\)"):
        probe_findings(tmp_path, DESK)
    path.write_text("{}")
    with pytest.raises(UserError, match="is no record of a probe"):
        outcomes(Results(tmp_path), DESK)


def test_the_verdict_in_a_probe_record_is_not_believed(tmp_path: Path) -> None:
    """A sign turned in the verdict alone contradicts the bins, whatever the checksum."""
    path = write_probe(tmp_path, (0.4, 0.3, 0.5))
    record = read_sealed(path)
    for name in ("difference", "difference_low", "difference_high"):
        record["verdict"]["low"][name] *= -1
    write_checked(path, record)
    with pytest.raises(UserError, match=r"verdict low: difference is -0.4\d*, and 0.4\d* follows from its bins"):
        outcomes(Results(tmp_path), DESK)
