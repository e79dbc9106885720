"""The figures in docs/distillation.md are those of the records that it names."""

import re
from pathlib import Path

from paced_exp.run_folder import read_json

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "distillation.md").read_text()
TIERS = ("lab:mid", "lab:hard-a", "lab:hard-b", "lab:retention")


def rows(first: str) -> list[list[str]]:
    """Cells of the table rows on the page whose first cell matches."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
    return [row for row in cells if re.fullmatch(first, row[0])]


def test_the_selection_is_the_records_and_the_best_is_marked() -> None:
    records = [read_json(path) for path in (ROOT / "results" / "desk" / "distill" / "selection").glob("*.json")]
    wanted = []
    for record in records:
        best = max(other["mean_of_tiers"] for other in records if other["setting"] == record["setting"])
        mean, mark = f"{100 * record['mean_of_tiers']:.1f}", "**" if record["mean_of_tiers"] == best else ""
        gains = [f"{100 * record['difference_to_base'][name]['value']:+.1f}" for name in TIERS]
        wanted.append([record["setting"], f"{record['learning_rate']:g}", str(record["steps"]), f"{mark}{mean}{mark}", *gains])
    assert sorted(rows("(self-)?distillation")) == sorted(wanted)


def test_the_benchmark_is_the_records() -> None:
    record = read_json(ROOT / "results" / "desk" / "bench" / "distill.json")
    for step in record["step"]:
        quartiles = f"{step['quartile_low']:.2f}, {step['quartile_high']:.2f}"
        assert rows(step["contender"]) == [[step["contender"], f"{step['total']:.2f}", quartiles]]
    kept, dropped = record["epoch"]
    text = f"({dropped['problems']} of {kept['problems']} are left when pass rates are uniform on [0, 1]) takes {dropped['total']:.2f} of"
    assert text in " ".join(PAGE.split())
