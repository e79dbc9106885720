"""How often methods repeat their data, and the interaction with the number of updates, are what the records say."""

from pathlib import Path

import numpy as np
import pytest

from paced_exp.core.json_files import read_json
from paced_exp.reproduce.measures import primaries, row_named
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.regime import interaction, interaction_table, passes_table
from paced_exp.reproduce.scales import DESK_V1
from tests.support.synthetic import write_base, write_row

ROOT = Path(__file__).resolve().parents[2]
LEVELS = {"paced-half": 0.6, "uniform-half": 0.5, "paced-double": 0.5, "uniform-double": 0.7, "paced": 0.6, "uniform": 0.6}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Half the updates: PACED 10 points ahead; twice: 20 behind. All cells say that half of 2,000 problems were kept."""
    write_base(tmp_path, 0.3)
    for row, level in LEVELS.items():
        write_row(tmp_path, "compute", row, level, seeds=3)
    return Results(tmp_path)


def test_passes_are_updates_times_batch_over_what_is_kept(results: Results) -> None:
    rows = {row[0].text: [value.text for value in row[1:]] for row in passes_table(results, DESK_V1).rows}
    assert rows["PACED, forward KL"][:2] == ["1,000", "6.4"]  # 200 x 32 / 1,000
    assert rows["PACED, K = 2, plugin"] == ["not run"] * 3


def test_the_interaction_is_the_difference_of_differences(results: Results) -> None:
    found = interaction(results, DESK_V1)
    by_seed = {name: np.array(primaries(row_named(results, DESK_V1, "compute", name), DESK_V1)) for name in LEVELS}
    hand = by_seed["paced-double"] - by_seed["uniform-double"] - by_seed["paced-half"] + by_seed["uniform-half"]
    assert found is not None and found.value == pytest.approx(hand.mean()) == pytest.approx(-30, abs=6)
    assert found.high < 0
    rows = interaction_table(results, DESK_V1).rows
    assert [row[0].text for row in rows] == ["100 updates", "200 updates", "400 updates", "interaction: twice less half the updates"]
    assert [row[2].text for row in rows[:3]] == ["3.2", "6.4", "12.8"]
    assert all(row[3].text.count("[") == 1 for row in rows)


def test_without_the_runs_nothing_is_said(tmp_path: Path) -> None:
    assert interaction(Results(tmp_path), DESK_V1) is None
    assert {value.text for row in interaction_table(Results(tmp_path), DESK_V1).rows for value in row[3:4]} == {"not run"}


def test_the_committed_passes_by_hand() -> None:
    kept = []
    for seed in range(5):
        weights = read_json(ROOT / "results" / "desk-v1" / "rollouts" / f"k2-plugin-s{seed}.json")["training"]["weights"]
        kept.append(weights["problems"] - weights["dropped"])
    row = passes_table(Results(ROOT / "results"), DESK_V1).rows[0]
    assert row[1].text == f"{np.mean(kept):,.0f}" and row[2].text == f"{np.mean([6400 / count for count in kept]):.1f}"
