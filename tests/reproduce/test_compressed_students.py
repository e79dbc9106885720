"""Compressed students: what is lost by hand, the words, records of tiny students end to end, and what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.reproduce import compressed
from paced_exp.reproduce.cells import row_cells
from paced_exp.reproduce.compressed import compress_student
from paced_exp.reproduce.compressed_findings import ROWS, compressed_block, costs, record_path, students
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.records import write_sealed
from paced_exp.reproduce.run_cell import cell_folder
from paced_exp.reproduce.scales import DESK, Scale
from tests.support.distill_setup import save_models

PROBLEMS = 40


def write(
    results: Path, row: str, seed: int, counts: dict[str, np.ndarray], problems: str = "ids", changes: dict[str, Any] | None = None
) -> None:
    scores = {
        method: {source: {"problems": problems, "samples": 4, "correct": values.tolist()} for source in DESK.sources}
        for method, values in counts.items()
    }
    methods = [
        {"method": method, "bytes": 100 if method == "whole" else 25, "share": 1.0 if method == "whole" else 0.25, "scores": scores[method]}
        for method in counts
    ]
    path = record_path(results, DESK, row, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    (student,) = [cell.options for cell in students(DESK) if (cell.row, cell.seed) == (row, seed)]
    home = {"kind": "compressed", "scale": "desk", "row": row, "seed": seed, "student": student, **(changes or {})}
    write_sealed(path, {**home, "command": "make it", "methods": methods})


def test_what_is_lost_by_hand(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for seed in (100, 101, 102):
        whole = rng.integers(2, 5, PROBLEMS)
        write(tmp_path, "uniform", seed, {"whole": whole, "int4": whole - 2, "int8": whole})
        write(tmp_path, "paced", seed, {"whole": whole, "int4": whole - (np.arange(PROBLEMS) % 2), "int8": whole})
    four, eight = costs(tmp_path, DESK)
    assert [cost.method for cost in (four, eight)] == ["int4", "int8"] and four.share == 0.25
    # Two of four samples everywhere, and one of four in every second problem.
    assert four.lost["uniform"].value == pytest.approx(50) and four.lost["paced"].value == pytest.approx(12.5)
    assert four.less.value == pytest.approx(37.5) and four.finding.verdict == "replicates"
    assert eight.less.value == 0 and eight.finding.verdict == "equivalent within 1 point"
    assert "| `int4` | 25% | +50.0 [+50.0, +50.0] |" in compressed_block(tmp_path, DESK)


def test_one_seed_or_none_is_not_run_and_other_problems_are_refused(tmp_path: Path) -> None:
    counts = {"whole": np.full(PROBLEMS, 4), "int8": np.full(PROBLEMS, 3)}
    assert compressed_block(tmp_path, DESK).startswith("Not run")
    write(tmp_path, "uniform", 100, counts)
    write(tmp_path, "uniform", 101, counts)
    write(tmp_path, "paced", 100, counts)
    assert costs(tmp_path, DESK) == []
    write(tmp_path, "paced", 101, counts, problems="others")
    with pytest.raises(UserError, match="other methods or problems"):
        costs(tmp_path, DESK)


def test_before_all_seeds_are_there_nothing_is_decided(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).integers(2, 5, PROBLEMS)
    for seed in (100, 101):
        write(tmp_path, "uniform", seed, {"whole": whole, "int4": whole - 2})
        write(tmp_path, "paced", seed, {"whole": whole, "int4": whole})
    (cost,) = costs(tmp_path, DESK)
    assert cost.less.low > 0 and cost.finding.verdict == "not decided"
    assert compressed_block(tmp_path, DESK).endswith("| not decided (2 of 3 planned seeds) |")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"row": "paced"}, "row"),
        ({"seed": 999}, "seed"),
        ({"student": {}}, "seed"),
        ({"student": None}, "student"),
        ({"kind": "cell"}, "kind"),
    ],
    ids=str,
)
def test_a_record_of_another_student_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    counts = {"whole": np.full(PROBLEMS, 4), "int8": np.full(PROBLEMS, 3)}
    for seed in (100, 101):
        write(tmp_path, "paced", seed, counts)
        write(tmp_path, "uniform", seed, counts, changes=changes if seed == 101 else None)
    with pytest.raises(UserError, match=rf"uniform-s101.json is of another student .*differing: .*{said}"):
        costs(tmp_path, DESK)
    with pytest.raises(SystemExit, match="2"):
        compressed.exit_cleanly(lambda: compressed.main(["--work", str(tmp_path), "--results", str(tmp_path)]))


def test_a_student_that_was_not_kept_is_one_line(tmp_path: Path) -> None:
    (first, *_) = students(DESK)
    with pytest.raises(UserError, match=r"neighbours/uniform-s100 was not kept; .* --keep true"):
        compress_student(first, tmp_path / "results", tmp_path / "work")
    with pytest.raises(SystemExit, match="2"):
        compressed.exit_cleanly(lambda: compressed.main(["--work", str(tmp_path), "--results", str(tmp_path / "results")]))


def test_a_tiny_student_end_to_end(scale: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "METHODS", "bf16,int8,magnitude:0.5")  # tiny layers do not hold a group of int4
    tiny = dataclasses.replace(scale, protocol=2, evaluation={"samples": 2, "evaluate_limit": 5})
    (cell,) = row_cells(DESK, BY_NAME["neighbours"], BY_NAME["neighbours"].row(ROWS[0]), 1)
    cell = dataclasses.replace(cell, scale=tiny)
    save_models(tmp_path / "made")
    folder = cell_folder(cell, tmp_path / "work")
    folder.mkdir(parents=True)
    (tmp_path / "made" / "student").rename(folder / "model")
    path = compress_student(cell, tmp_path / "results", tmp_path / "work")
    record: dict[str, Any] = read_json(path)
    assert [entry["method"] for entry in record["methods"]] == ["whole", "bf16", "int8", "magnitude:0.5"]
    assert all(len(entry["scores"][source]["correct"]) == 5 for entry in record["methods"] for source in tiny.sources)
    assert path == record_path(tmp_path / "results", tiny, "uniform", 100) and "checksum" in record
    assert "command" not in record["provenance"] and str(tmp_path) not in path.read_text()
    again = path.read_bytes()
    assert compress_student(cell, tmp_path / "results", tmp_path / "work").read_bytes() == again  # the run's own record is read
