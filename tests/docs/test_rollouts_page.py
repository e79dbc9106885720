"""The page of rollouts: its table is that of the committed record."""

import re

import pytest

from bench import adaptive
from paced_exp.core.json_files import read_json
from tests.support.pages import ROOT


def test_what_stopping_early_saves_is_the_records() -> None:
    page = (ROOT / "docs" / "rollouts.md").read_text(encoding="utf-8")
    typed = {way: (text, float(share)) for way, text, share in re.findall(r"^\| `(mean|largest)` \| (.+) \| ([\d.]+) \|$", page, re.M)}
    record = read_json(adaptive.OUT)
    assert record["settings"]["K"] == 8
    rows = {row["way"]: row for row in record["rows"] if row["source"].startswith("simulated")}
    for way in ("mean", "largest"):
        assert typed[way][1] == pytest.approx(rows[way]["rollouts"], abs=0.005)
    (error,) = re.findall(r"\(([\d.]+) times the squared error\)", typed["largest"][0])
    assert float(error) == pytest.approx(rows["largest"]["error_ratio"], abs=0.05)
