"""The first screen: sentences follow the sign of the interval, say nothing of what was not run, and have the records' numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from paced_exp.probe.verdict import ends_to_middle
from paced_exp.reproduce import front, front_use
from paced_exp.reproduce.advice import AtCompute
from paced_exp.reproduce.front import findings, setting
from paced_exp.reproduce.front_effects import AKL, BOTH, PACED, SELF, SELF_AKL, SELF_AKL_TO_PACED, effect
from paced_exp.reproduce.front_use import in_short, use
from paced_exp.reproduce.measures import primaries, row_named
from paced_exp.reproduce.printed_table import with_interval
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK
from paced_exp.reproduce.significance import Estimate
from paced_theory.claims import ledger
from tests.support.synthetic import write_base, write_row

ROOT = Path(__file__).resolve().parents[2]


def write_rows(results: Path, seeds: int, **accuracies: float) -> None:
    for row, accuracy in accuracies.items():
        write_row(results, "one-pass", row, accuracy, seeds, DESK)


def test_without_records_only_the_theory_speaks(tmp_path: Path) -> None:
    results = Results(tmp_path)
    (said,) = findings(results, DESK)
    paper = [claim for claim in ledger() if claim.origin == "paper"]
    assert said.startswith(f"- **{sum(claim.recorded == 'holds' for claim in paper)} of {len(paper)}** theoretical statements")
    assert use(results, DESK) == ["The runs that would tell are not done yet."]
    assert setting(results, DESK).endswith("accuracy on held-out problems. Forgetting: accuracy lost on skills left out of training.")


def test_nothing_is_said_before_all_planned_seeds(tmp_path: Path) -> None:
    write_base(tmp_path, 0.3, DESK)
    write_rows(tmp_path, 9, uniform=0.5, paced=0.6)
    assert effect(Results(tmp_path), DESK, PACED) is None
    assert len(findings(Results(tmp_path), DESK)) == 1


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (
            Estimate(2.0, 0.1, 50),
            "At equal updates on fresh problems, those of weight zero replaced, PACED's weights gain **2.0 points** [1.8, 2.2] over no weighting.",
        ),
        (
            Estimate(-2.0, 0.1, 50),
            "At equal updates on fresh problems, those of weight zero replaced, PACED's weights lose **2.0 points** [1.8, 2.2] to no weighting.",
        ),
        (
            Estimate(0.1, 0.1, 50),
            "At equal updates on fresh problems, those of weight zero replaced, PACED's weights cannot be told from no weighting: between −0.1 and 0.3 points.",
        ),
    ],
)
def test_a_sentence_says_what_its_interval_says(estimate: Estimate, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "effect", lambda results, scale, asked: estimate if asked == PACED else None)
    assert findings(Results(tmp_path), DESK)[0].endswith(words)


def test_numbers_are_those_of_the_rows_and_advice_follows_their_signs(tmp_path: Path) -> None:
    write_base(tmp_path, 0.3, DESK)
    write_rows(tmp_path, 10, uniform=0.5, paced=0.6, akl=0.4)
    for row, accuracy in (("uniform-2", 0.6), ("paced-2", 0.5)):
        write_row(tmp_path, "multi-pass", row, accuracy, 5, DESK)
    results = Results(tmp_path)
    said = findings(results, DESK)
    means = {row: np.mean(primaries(row_named(results, DESK, "one-pass", row), DESK)) for row in ("base", "uniform", "paced", "akl")}
    assert f"{means['base']:.1f} % before training, {means['uniform']:.1f} % after unweighted training (10 seeds)" in setting(results, DESK)
    assert f"gain **{means['paced'] - means['uniform']:.1f} points**" in said[0]
    assert f"loses **{means['paced'] - means['akl']:.1f} points** [" in said[1] and said[1].endswith(
        "] to PACED at equal updates, without any weights."
    )
    rows = table(use(results, DESK))
    assert set(rows) == {"you have pass counts", "few problems, repeated"}
    advised, measured = rows["you have pass counts"]
    assert advised == "PACED's weights" and measured.startswith(f"+{means['paced'] - means['uniform']:.1f} [+")
    advised, measured = rows["few problems, repeated"]
    assert advised == "no weighting" and measured.startswith("−") and measured.endswith("] at 400 updates, over no weighting")


def test_weights_on_akl_are_advised_where_they_raise_it_and_akl_where_counts_are_still_to_be_made(tmp_path: Path) -> None:
    write_base(tmp_path, 0.3, DESK)
    write_rows(tmp_path, 10, uniform=0.4, paced=0.5, akl=0.6)
    assert table(use(Results(tmp_path), DESK))["you have pass counts"][0] == "AKL without weights"
    write_row(tmp_path, "kernels-one-pass", "paced-akl", 0.7, 5, DESK)
    rows = table(use(Results(tmp_path), DESK))
    advised, measured = rows["you have pass counts"]
    assert advised == "PACED's weights on the AKL loss" and measured.endswith(
        "over AKL without weights (the best of 4 methods, picked after the results were seen: likely too high)"
    )
    advised, measured = rows["you would have to count"]
    assert advised == "AKL without weights" and measured.endswith(
        "over PACED, with 100 % of its compute (rollouts included)"
    )  # as many FLOPs in these records


def table(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Case: what to try, and what was measured."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {case: (advised, measured) for case, advised, measured in cells}


def ending(value: float, low: float, high: float) -> dict[str, float]:
    return {"snr_squared": value, "snr_squared_low": low, "snr_squared_high": high}


@pytest.mark.parametrize(
    ("never", "always", "words"),
    [
        ((4, 3, 5), (4, 3, 5), "neither end can be told from the middle"),
        ((4, 3, 5), (1, 0.5, 2), "k = 0 cannot be told from the middle, and k = K lies below the middle"),
        ((1, 0.5, 2), (4, 3, 5), "k = 0 lies below the middle, and k = K cannot be told from the middle"),
        ((9, 8, 10), (4, 3, 5), "k = 0 lies above the middle, and k = K cannot be told from the middle"),
        ((1, 0.5, 2), (0, -1, 1), "both ends lie below the middle"),
        ((3, 1, 3.5), (5, 4.5, 6), "neither end can be told from the middle"),  # the intervals overlap
    ],
)
def test_ends_are_told_from_the_middle_where_intervals_do_not_overlap(
    never: tuple[float, ...], always: tuple[float, ...], words: str
) -> None:
    judged = {"middle": 4, "middle_low": 3.2, "middle_high": 5, "difference": never[0] - 2}
    record = {"bins": [ending(*never), ending(*always)], "verdict": {"low": judged, "high": judged | {"difference": always[0] - 2}}}
    assert ends_to_middle(record, ("k = 0", "k = K")) == words
    for end in ("low", "high"):  # no bin lies at that end, or none in the middle
        too_few = record | {"verdict": record["verdict"] | {end: {"end": "", "verdict": "not decided", "difference": None}}}
        assert "too few" in ends_to_middle(too_few, ("k = 0", "k = K"))


GAINS, LOSES, OPEN = Estimate(2.0, 0.1, 50), Estimate(-2.0, 0.1, 50), Estimate(0.1, 0.1, 50)


@pytest.mark.parametrize(
    ("at_updates", "akl", "both", "at_compute", "words"),
    [
        (GAINS, None, None, GAINS, "PACED's weights beat no weighting. Use them."),
        (GAINS, OPEN, GAINS, LOSES, "Use them only if you already have pass counts (k of K): to make them does not pay."),
        (GAINS, LOSES, None, None, "PACED's weights beat no weighting. Use them where pass counts (k of K) cost nothing."),
        (GAINS, GAINS, OPEN, OPEN, "PACED's weights beat no weighting. Another loss, AKL, beats them without weights. Take AKL alone."),
        (GAINS, GAINS, GAINS, OPEN, "If you have pass counts (k of K), put the weights on AKL; else take AKL alone."),
        (OPEN, None, None, GAINS, "PACED's weights cannot be told from no weighting. Do not use them."),
        (LOSES, GAINS, None, None, "PACED's weights lose to no weighting. Another loss, AKL, beats them without weights. Take AKL alone."),
        (None, GAINS, None, None, ""),
    ],
)
def test_the_first_sentences_follow_the_differences(
    at_updates: Estimate | None,
    akl: Estimate | None,
    both: Estimate | None,
    at_compute: Estimate | None,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compute = None if at_compute is None else AtCompute(at_compute, OPEN, 2.0, 2.0)
    monkeypatch.setattr(front_use, "effect", lambda results, scale, asked: {PACED: at_updates, AKL: akl, BOTH: both}[asked])
    monkeypatch.setattr(front_use, "at_equal_compute", lambda results, scale, method: compute)
    said = in_short(Results(tmp_path), DESK)
    assert said.endswith(words) and said.startswith("At equal updates PACED's weights " if words else "")


@pytest.mark.parametrize(
    ("paced", "akl", "to_paced", "advised"),
    [
        (GAINS, None, None, "PACED's weights"),
        (GAINS, OPEN, OPEN, "PACED's weights"),
        (GAINS, GAINS, LOSES, "PACED's weights"),
        (GAINS, GAINS, OPEN, "AKL without weights, on the teacher's responses; or PACED's weights"),
        (GAINS, GAINS, GAINS, "AKL without weights, on the teacher's responses"),
        (OPEN, GAINS, OPEN, "AKL without weights, on the teacher's responses"),
        (LOSES, OPEN, OPEN, "no weighting"),
    ],
)
def test_self_distillation_is_advised_what_gains_and_is_not_told_to_be_worse(
    paced: Estimate, akl: Estimate | None, to_paced: Estimate | None, advised: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {SELF: paced, SELF_AKL: akl, SELF_AKL_TO_PACED: to_paced}
    monkeypatch.setattr(front_use, "effect", lambda results, scale, asked: found.get(asked))
    rows = table(use(Results(tmp_path), DESK))
    assert rows["self-distillation"][0] == advised
    numbers = [one for one, name in ((akl, "AKL"), (paced, "PACED")) if name in advised] or [paced]
    assert rows["self-distillation"][1] == "; ".join(with_interval(one) for one in numbers if one is not None) + " over no weighting"


def test_the_snr_of_both_ends_is_the_records() -> None:
    """Whatever the newest finished probe is, its numbers are in the sentence, and that the planned test is to come only as long as it is."""
    (said,) = [text for text in findings(Results(ROOT / "results"), DESK) if "signal-to-noise" in text]
    newest = ROOT / "results" / "desk" / "snr_ranges" / "qwen3" / "record.json"
    record = json.loads((newest if newest.exists() else ROOT / "results" / "desk-v1" / "snr_verdict" / "qwen3" / "record.json").read_text())
    first, judged, last = record["bins"][0], record["verdict"]["low"], record["bins"][-1]
    never, middle, always = (
        "**{:.3f}** [{:.3f}, {:.3f}]".format(*(max(0.0, values[name + end]) ** 0.5 for end in ("", "_low", "_high")))
        for values, name in ((first, "snr_squared"), (judged, "middle"), (last, "snr_squared"))
    )
    assert f" measures {never} " in said and f", {middle} in the middle, and {always} " in said
    assert ("has not run" in said) != newest.exists()
