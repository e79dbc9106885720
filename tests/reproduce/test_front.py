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
        (Estimate(2.0, 0.1, 50), "At equal updates, with no problem repeated, PACED's weights gain **2.0 points**"),
        (Estimate(-2.0, 0.1, 50), "At equal updates, with no problem repeated, PACED's weights cost **2.0 points**"),
        (
            Estimate(0.1, 0.1, 50),
            "At equal updates, with no problem repeated, PACED's weights cannot be told from no weighting: between −0.1 and 0.3",
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


def test_numbers_are_those_of_the_rows_and_advice_has_none(tmp_path: Path) -> None:
    write_base(tmp_path, 0.3, DESK)
    for row, accuracy in (("uniform", 0.5), ("paced", 0.6), ("akl", 0.4), ("paced-eb", 0.5)):
        write_row(tmp_path, "one-pass", row, accuracy, 10, DESK)
    for row, accuracy in (("uniform-2", 0.6), ("paced-2", 0.5)):
        write_row(tmp_path, "multi-pass", row, accuracy, 5, DESK)
    results = Results(tmp_path)
    said = findings(results, DESK)
    means = {row: np.mean(primaries(row_named(results, DESK, "one-pass", row), DESK)) for row in ("uniform", "paced", "akl")}
    assert f"gain **{means['paced'] - means['uniform']:.1f} points**" in said[0]
    assert f"loses **{means['paced'] - means['akl']:.1f} points** to PACED" in said[1]
    assert effect(results, DESK, AKL) is not None and len(said) <= 5
    text = use(results, DESK)
    assert text.startswith(
        "At equal updates the weights pay. With an eighth of the problems and many passes over them the weights cost. Take the plug-in"
    )
    assert not any(letter.isdigit() for letter in text) and "is the best" not in text


def test_the_share_of_the_end_is_the_records() -> None:
    """Whatever the newest finished probe is, its two numbers are in the sentence."""
    (said,) = [text for text in findings(Results(ROOT / "results"), DESK) if "never succeeds" in text]
    newest = ROOT / "results" / "desk" / "snr_ranges" / "qwen3" / "record.json"
    record = json.loads((newest if newest.exists() else ROOT / "results" / "desk-v1" / "snr_verdict" / "qwen3" / "record.json").read_text())
    end = record["verdict"]["low"]
    assert f"**{100 * end['snr_squared'] / end['middle']:.0f} %**" in said
