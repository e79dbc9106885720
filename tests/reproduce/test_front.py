"""The first screen: sentences follow the sign of the interval, say nothing of what was not run, and have the records' numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from paced_exp.reproduce.front import AKL, PACED, _sentence, effect, findings, use
from paced_exp.reproduce.measures import primaries, row_named
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK
from paced_exp.reproduce.significance import Estimate
from paced_theory.claims import ledger
from tests.support.synthetic import write_base, write_row

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (Estimate(2.0, 0.1, 50), "At equal updates, no problem repeated, PACED's weights gain **2.0 points** [1.8, 2.2]"),
        (Estimate(-2.0, 0.1, 50), "At equal updates, no problem repeated, PACED's weights lose **2.0 points** [1.8, 2.2]"),
        (
            Estimate(0.1, 0.1, 50),
            "At equal updates, no problem repeated, PACED's weights cannot be told from no weighting: between −0.1 and 0.3",
        ),
    ],
)
def test_a_sentence_says_what_its_interval_says(estimate: Estimate, words: str) -> None:
    assert _sentence(PACED, estimate).startswith(words)


def test_without_records_only_the_theory_speaks(tmp_path: Path) -> None:
    results = Results(tmp_path)
    (said,) = findings(results, DESK)
    paper = [claim for claim in ledger() if claim.origin == "paper"]
    assert said.startswith(f"- **{sum(claim.recorded == 'holds' for claim in paper)} of {len(paper)}** theoretical statements")
    assert use(results, DESK) == "The runs that would tell are not done yet."


def test_nothing_is_said_before_all_planned_seeds(tmp_path: Path) -> None:
    write_base(tmp_path, 0.3, DESK)
    for row, accuracy in (("uniform", 0.5), ("paced", 0.6)):
        write_row(tmp_path, "one-pass", row, accuracy, 9, DESK)
    assert effect(Results(tmp_path), DESK, PACED) is None
    assert len(findings(Results(tmp_path), DESK)) == 1


def test_numbers_are_those_of_the_rows_and_advice_follows_their_signs(tmp_path: Path) -> None:
    write_base(tmp_path, 0.3, DESK)
    for row, accuracy in (("uniform", 0.5), ("paced", 0.6), ("akl", 0.4), ("paced-eb", 0.5)):
        write_row(tmp_path, "one-pass", row, accuracy, 10, DESK)
    for row, accuracy in (("uniform-2", 0.6), ("paced-2", 0.5)):
        write_row(tmp_path, "multi-pass", row, accuracy, 5, DESK)
    results = Results(tmp_path)
    said = findings(results, DESK)
    means = {row: np.mean(primaries(row_named(results, DESK, "one-pass", row), DESK)) for row in ("uniform", "paced", "akl")}
    assert f"gain **{means['paced'] - means['uniform']:.1f} points**" in said[0]
    assert f"loses **{means['paced'] - means['akl']:.1f} points** [" in said[1] and "] to PACED at equal updates" in said[1]
    assert effect(results, DESK, AKL) is not None and len(said) <= 5
    text = use(results, DESK)
    assert text == (
        "If you already have pass counts, at equal updates, the weights gain accuracy. With an eighth of the problems, visited again and again, the weights "
        "lose accuracy at 400 updates. Take p = k/K as it is (the plug-in estimate)."
    )


def test_the_shares_of_both_ends_are_the_records() -> None:
    """Whatever the newest finished probe is, its numbers are in the sentence, and that the planned test is to come only as long as it is."""
    (said,) = [text for text in findings(Results(ROOT / "results"), DESK) if "signal-to-noise" in text]
    newest = ROOT / "results" / "desk" / "snr_ranges" / "qwen3" / "record.json"
    record = json.loads((newest if newest.exists() else ROOT / "results" / "desk-v1" / "snr_verdict" / "qwen3" / "record.json").read_text())
    for end in (record["bins"][0], record["bins"][-1]):
        value, low, high = (1000 * end[f"snr_squared{name}"] for name in ("", "_low", "_high"))
        assert f"**{value:.1f}** [{low:.1f}, {high:.1f}]" in said
    assert ("has not run" in said) != newest.exists()
