"""What the pages advise: gains and costs from the records, no weighting at equal compute by hand, and the claims in short."""

import math
from pathlib import Path

import numpy as np
import pytest

from paced_exp.reproduce.advice import advice, at_equal_compute, judged
from paced_exp.reproduce.cells import row_cells
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.in_short import gain, in_short
from paced_exp.reproduce.measures import primaries, row_named
from paced_exp.reproduce.records import Results, write_record
from paced_exp.reproduce.scales import DESK
from paced_exp.reproduce.significance import Estimate
from paced_exp.reproduce.verdicts import outcomes
from tests.support.synthetic import content_of, scores, write_base, write_row


def write_costing(results: Path, table: str, row: str, accuracy: float, flops: float, seeds: int = 5) -> None:
    """Records of a row at so many FLOPs."""
    for cell in row_cells(DESK, BY_NAME[table], BY_NAME[table].row(row), seeds):
        write_record(cell.path(results), {**content_of(cell, scores(DESK, accuracy, cell.seed)), "flops": {"training": flops}})


def test_a_difference_is_called_what_its_interval_says() -> None:
    assert judged(Estimate(1.0, 0.1, 50), "A", "B").startswith("A gains +1.0 [+0.8, +1.2] points over B")
    assert judged(Estimate(-1.0, 0.1, 50), "A", "B").startswith("A loses to B: −1.0 [−1.2, −0.8] points")
    assert judged(Estimate(0.1, 0.1, 50), "A", "B").startswith("A cannot be told from B: +0.1 [−0.1, +0.3]")


def test_equal_compute_is_between_the_two_nearest_lengths(tmp_path: Path) -> None:
    """4 TFLOPs lie half-way between 2 and 8 in the logarithm; outside 1 and 8 nothing is said."""
    for place, accuracy, flops in (
        (("one-pass-short", "uniform-short"), 0.3, 2e12),
        (("one-pass", "uniform"), 0.5, 8e12),
        (("total-compute", "uniform-whole"), 0.6, 16e12),
    ):
        write_costing(tmp_path, *place, accuracy, flops)
    results = Results(tmp_path)
    assert at_equal_compute(results, DESK, "paced") is None  # not run
    write_costing(tmp_path, "one-pass", "paced", 0.55, 4e12)
    write_costing(tmp_path, "one-pass", "paced-eb", 0.55, 1e12)
    results = Results(tmp_path)
    found = at_equal_compute(results, DESK, "paced")
    assert found is not None and (found.spent, found.plain) == (4e12, 4e12)
    short, uniform, paced = (
        np.mean(primaries(row_named(results, DESK, table, row), DESK))
        for table, row in (("one-pass-short", "uniform-short"), ("one-pass", "uniform"), ("one-pass", "paced"))
    )
    share = math.log(4 / 2) / math.log(8 / 2)
    assert share == 0.5 and found.estimate.value == pytest.approx(paced - (short + uniform) / 2)
    assert at_equal_compute(results, DESK, "paced-eb") is None
    write_costing(tmp_path, "one-pass", "paced-eb", 0.55, 32e12)  # more than the longest run of no weighting, at 16
    dear = at_equal_compute(Results(tmp_path), DESK, "paced-eb")
    assert dear is not None and (dear.spent, dear.plain) == (32e12, 16e12)
    said = " ".join(advice(Results(tmp_path), DESK))
    assert "PACED by empirical Bayes loses to no weighting: " in said and "(it spends 32 TFLOPs, no weighting 16)" in said


def test_the_advice_is_of_the_rows_that_were_run(tmp_path: Path) -> None:
    assert advice(Results(tmp_path), DESK) == ["- The runs that would tell are not done yet."]
    write_base(tmp_path, 0.3, DESK)
    for row in ("uniform-2", "paced-2"):  # four of five planned seeds: nothing is said of them
        write_row(tmp_path, "multi-pass", row, 0.5, 4, DESK)
    for row, accuracy in (("uniform", 0.5), ("paced", 0.6), ("akl", 0.4)):
        write_row(tmp_path, "one-pass", row, accuracy, 10, DESK)
    results = Results(tmp_path)
    first, best = advice(results, DESK)
    gained = gain(results, DESK, "distillation")
    paced, uniform = (np.mean(primaries(row_named(results, DESK, "one-pass", row), DESK)) for row in ("paced", "uniform"))
    assert gained is not None and first.startswith("- At equal updates, no problem visited twice: PACED (plug-in) gains +")
    assert f"{100 * (paced - uniform) / gained.value:.0f} % of what no weighting gains" in first and "empirical Bayes" not in first
    assert best.startswith("- Of 3 methods compared at equal updates, “PACED” has the highest accuracy, ")
    assert best.endswith("its 95 % intervals tell it from all others.")


def test_in_short_the_share_is_of_the_unweighted_gain_without_the_margin(tmp_path: Path) -> None:
    write_base(tmp_path, 0.3, DESK)
    for row, accuracy in (("uniform", 0.5), ("paced", 0.6)):
        write_row(tmp_path, "one-pass", row, accuracy, 10, DESK)
    write_row(tmp_path, "one-pass-short", "uniform-short", 0.45, 10, DESK)
    for row, accuracy in (("k8-plugin", 0.5), ("k16-plugin", 0.5)):
        write_row(tmp_path, "rollouts-one-pass", row, accuracy, 5, DESK)
    results = Results(tmp_path)
    printed = in_short(results, DESK, outcomes(results, DESK))
    rows = {row[0].text.split(":")[0]: row for row in printed.rows}
    assert len(rows) == 13 and "E" not in rows  # which has no primary hypothesis
    whole, half = gain(results, DESK, "distillation"), gain(results, DESK, "distillation", 0.5)
    assert whole is not None and half is not None and whole.value > half.value
    assert rows["C2"][3].text == f"{100 * (rows['C2'][2].number or 0) / whole.value:.0f} %"
    # The same accuracy at K = 8 and 16: one point by the margin, and a share of nothing without it.
    assert rows["C8"][2].number == pytest.approx(1, abs=1) and rows["C8"][3].text.removeprefix("−") in ("0 %", "1 %", "2 %")
    assert rows["C4"][3].text == "–" and rows["C5"][2].text == "not run yet"
