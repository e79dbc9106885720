"""The figures in docs/distillation.md are those of the records that it names."""

import re
from pathlib import Path

from paced_exp.core.json_files import read_json

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "distillation.md").read_text()
TIERS = ("lab:mid", "lab:hard-a", "lab:hard-b", "lab:retention")


def rows(first: str) -> list[list[str]]:
    """Cells of the table rows on the page whose first cell matches."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
    return [row for row in cells if re.fullmatch(first, row[0])]


def test_the_selection_is_the_records_and_the_best_is_marked() -> None:
    records = [read_json(path) for path in (ROOT / "results" / "desk-v1" / "distill" / "selection").glob("*.json")]
    wanted = []
    for record in records:
        best = max(other["mean_of_tiers"] for other in records if other["setting"] == record["setting"])
        mean, mark = f"{100 * record['mean_of_tiers']:.1f}", "**" if record["mean_of_tiers"] == best else ""
        gains = [f"{100 * record['difference_to_base'][name]['value']:+.1f}" for name in TIERS]
        wanted.append([record["setting"], f"{record['learning_rate']:g}", str(record["steps"]), f"{mark}{mean}{mark}", *gains])
    assert sorted(rows("(self-)?distillation")) == sorted(wanted)


def test_what_the_rate_cost_is_the_records() -> None:
    records = [read_json(path) for path in (ROOT / "results" / "desk-v1" / "distill" / "selection").glob("*.json")]
    high, low = (next(r for r in records if r["setting"] == "distillation" and r["learning_rate"] == rate) for rate in (2e-3, 1e-3))
    gained = 100 * (high["mean_of_tiers"] - low["mean_of_tiers"])
    lost = 100 * (low["difference_to_base"]["lab:retention"]["value"] - high["difference_to_base"]["lab:retention"]["value"])
    assert f"the rate 2e-3 gains {gained:.1f} points of it and loses {lost:.1f} points of retention" in " ".join(PAGE.split())
    assert {(r["setting"], r["steps"]) for r in records} == {("distillation", 200), ("self-distillation", 100)}  # one value tried in each


def test_how_often_methods_repeat_their_data_is_the_records() -> None:
    records = [read_json(path)["training"]["weights"] for path in (ROOT / "results" / "desk-v1" / "distillation").glob("paced-s*.json")]
    kept = sum(record["problems"] - record["dropped"] for record in records) / len(records)
    assert len(records) == 5 and {record["problems"] for record in records} == {2000}
    said = f"200 updates of 32 visit each {200 * 32 / 2000:.1f} times without weights or with posterior ones, "
    assert said + f"and those that PACED's plug-in weights at K = 8 keep {200 * 32 / kept:.1f} times" in " ".join(PAGE.split())


def test_the_benchmark_is_the_records() -> None:
    record = read_json(ROOT / "results" / "bench" / "distill.json")
    for step in record["step"]:
        quartiles = f"{step['quartile_low']:.2f}, {step['quartile_high']:.2f}"
        assert rows(step["contender"]) == [[step["contender"], f"{step['total']:.2f}", quartiles]]
    kept, dropped = record["epoch"]
    text = f"({dropped['problems']} of {kept['problems']} are left when pass rates are uniform on [0, 1]) takes {dropped['total']:.2f} of"
    assert text in " ".join(PAGE.split())
