"""What is said of an end bin: by the numbers in a record, whatever words an old record stores; of the bin and not of the limit."""

from typing import Any

import pytest

from paced_exp.probe.verdict import RULE, by_rule, words


def panel(low: float, high: float, *, stored: str = "does not collapse", middle_low: float = 0.9, rate: float = 0.0) -> dict[str, Any]:
    rows = [
        {"pass_rate": p, "snr_squared": value, "snr_squared_low": value - 0.01, "snr_squared_high": value + 0.01, "n": 70}
        for p, value in ((rate, 0.81), (0.5, 1.0), (1.0, 0.49))
    ]
    judged = {
        "end": "p -> 0",
        "verdict": stored,
        "words": "p -> 0: does not collapse with 70 problems a bin",
        "middle": 1.0,
        "middle_low": middle_low,
        "middle_high": 1.1,
        "difference": (low + high) / 2,
        "difference_low": low,
        "difference_high": high,
    }
    return {"bins": rows, "verdict": {"low": judged, "high": judged}}


@pytest.mark.parametrize("stored", ["does not collapse", "collapses", "not decided"])
@pytest.mark.parametrize(
    ("low", "high", "middle_low", "verdict"),
    [
        (0.1, 0.3, 0.9, "keeps at least half"),
        (-0.3, -0.1, 0.9, "has less than half"),
        (-0.1, 0.1, 0.9, "not decided"),
        (0.0, 0.1, 0.9, "not decided"),
        (0.1, 0.3, 0.0, "not decided"),
    ],
)
def test_old_words_do_not_matter(stored: str, low: float, high: float, middle_low: float, verdict: str) -> None:
    record = panel(low, high, stored=stored, middle_low=middle_low)
    assert by_rule(record["verdict"]["low"]) == verdict
    said = words(record, "low")
    assert verdict in said and "collapse" not in said and "p -> 0" not in said


def test_the_bin_is_named_by_its_count_or_its_pass_rate_and_snr_stands_beside_its_square() -> None:
    record = panel(0.1, 0.3)
    assert words(record, "low") == (
        "the bin k = 0 keeps at least half of the middle's SNR² "
        "(SNR² 0.8100 [0.8000, 0.8200] against 1.0000 [0.9000, 1.1000]; SNR 0.900 against 1.000; 70 problems a bin)"
    )
    assert words(record, "high").startswith("the bin k = K keeps") and "SNR 0.700 against 1.000" in words(record, "high")
    assert words(panel(0.1, 0.3, rate=0.034), "low").startswith("the bin of mean pass rate 0.034 keeps")
    assert "half of SNR² is 0.71 of the plotted SNR" in RULE


def test_how_many_problems_are_needed_is_said_where_there_are_fewer() -> None:
    record = panel(-0.1, 0.1)
    record["verdict"]["low"]["problems_needed"] = 71
    assert "at least 71 would be needed" in words(record, "low")
    record["verdict"]["low"]["problems_needed"] = 70
    assert "needed" not in words(record, "low")


def test_bins_that_were_not_reached_are_not_judged() -> None:
    record = panel(0.1, 0.3)
    record["verdict"]["low"] = {"end": "p -> 0", "verdict": "not decided", "difference": None}
    assert by_rule(record["verdict"]["low"]) == "not decided"
    assert words(record, "low") == "the bin k = 0: not decided, the bins there or in the middle hold too few problems"
    empty = {"bins": [], "verdict": record["verdict"]}
    assert words(empty, "low") == "the first bin: not decided, the bins there or in the middle hold too few problems"
