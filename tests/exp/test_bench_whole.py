"""`python -m bench`: every part's rows from its record, what cannot run, parts that stay in the record, and how long it says it takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench
from bench import adaptive, fused, store, whole
from paced_exp.core.json_files import read_checked, read_json

RESULTS = Path(store.OUT).parent


@pytest.mark.parametrize("name", ["gradients", "distill", "adaptive", "store", "busy"])
def test_rows_of_a_committed_record_are_its_ratios(name: str) -> None:
    record = read_json(RESULTS / f"{name}.json")
    rows = whole.PARTS[name].rows(record)
    assert rows and all(set(row) == {"what", "to", "ratio", "low", "high"} and row["ratio"] > 0 for row in rows)
    assert len({(row["what"], row["to"]) for row in rows}) == len(rows)
    assert all(row["low"] <= row["ratio"] <= row["high"] for row in rows if row["low"] is not None)
    text = json.dumps(record)
    assert name == "store" or all(json.dumps(row["ratio"]) in text for row in rows)


def test_rows_that_are_made_of_several_numbers() -> None:
    turns = {"hf": [(30, 2.0), (30, 3.0), (30, 1.0)], "generate": [(30, 6.0), (30, 6.0), (30, 6.0)]}
    record: Any = {
        "rows": [
            {"engine": engine, "rounds": [{"rollouts": made, "processor_seconds": seconds} for made, seconds in each]}
            for engine, each in turns.items()
        ]
    }
    (row,) = whole.rollouts(record)
    assert (row["ratio"], row["low"], row["high"]) == (3.0, 2.0, 6.0)
    rows = [{"command": "probe", "when": when, "seconds": seconds} for when, seconds in (("before", 3.0), ("before", 5.0), ("now", 4.0))]
    (row,) = whole.time({"rows": rows, "settings": {"before": "0" * 40}})
    assert row["ratio"] == 0.5 and row["low"] is None
    stages = [
        {"stage": stage, "processor_seconds": seconds} for stage, seconds in (("open and count", 1.0), ("earlier: open and count", 8.0))
    ]
    assert whole.store({"rows": stages})[0]["ratio"] == 0.125
    spread = {"total": 1.4, "median": 1.2, "quartile_low": 1.1, "quartile_high": 1.3}
    ways = [
        {"contender": "the four products", "to_products": {**spread, "total": 1.0}, "memory_to_dense": 0.2},
        {"contender": "fused", "to_products": spread, "memory_to_dense": 0.4},
        {"contender": "dense", "to_products": spread, "memory_to_dense": 1.0},
    ]
    assert [(row["what"], row["ratio"]) for row in whole.fused({"rows": ways})] == [("fused", 1.2), ("dense", 1.2), ("fused, memory", 0.4)]


def test_it_takes_a_quarter_of_an_hour_and_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert sum(part.seconds for part in whole.PARTS.values()) <= 15 * 60
    bench.main(["--dry-run", "--out", str(tmp_path / "none.json")])
    printed = capsys.readouterr().out
    assert all(f"{name} {part.seconds} s" in printed for name, part in whole.PARTS.items()) and not list(tmp_path.iterdir())
    if bench.OUT.exists():  # what it took where it was measured
        parts = read_checked(bench.OUT, bench.KIND)["parts"]
        assert all(part["seconds"] <= whole.PARTS[name].seconds for name, part in parts.items())


def test_parts_run_and_stay_and_say_why_they_do_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = whole.Part("bench.store", ("--problems", "12", "--samples", "4", "--tokens", "50"), 5, whole.store)
    refused = whole.Part("bench.adaptive", (whole.RUN,), 5, whole.adaptive, ("bench.store", "--problems", "0"))
    monkeypatch.setattr(bench, "PARTS", {"adaptive": refused, "store": small})
    out = tmp_path / "bench.json"
    bench.main(["--only", "store", "--out", str(out)])
    bench.main(["--only", "adaptive", "--out", str(out)])
    parts = read_checked(out, bench.KIND)["parts"]
    assert list(parts) == ["adaptive", "store"]
    assert parts["store"]["rows"][0]["to"] == "an earlier version" and parts["store"]["processor_seconds"] > 0
    assert "problems" in parts["adaptive"]["not_run"] and "rows" not in parts["adaptive"]
    printed = capsys.readouterr().out
    assert "not run: " in printed and "open and count" in printed


def test_contenders_that_were_not_run_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    bench.print_part("fused", {"rows": [], "contenders_not_run": fused.NOT_RUN, "seconds": 1.0, "processor_seconds": 2.0})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all("not run: " in line for line in lines[:3])


def test_a_part_gets_the_folder_of_the_run_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        called.append(command[2:])
        if command[2] == "bench.adaptive":
            Path(command[-1]).write_text(Path(adaptive.OUT).read_text())
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(bench.subprocess, "run", run)
    made = bench.measured(whole.PARTS["adaptive"])
    (before, out), (_, folder) = (called[0][0], called[0][-1]), called[1][:2]
    assert before == "paced_exp.rollout" and folder == out and len(made["rows"]) == 6
