"""A record comes back as it was written; one that is damaged, changed or of other options is named and refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import content_of, scores, write_base, write_row

from paced_exp.errors import UserError
from paced_exp.reproduce.cells import cell_of
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.records import Results, checksum, read_record, without_circumstances, write_record
from paced_exp.reproduce.scales import DESK

TABLE = BY_NAME["distillation"]
CELL = cell_of(DESK, TABLE, TABLE.row("paced"), 1)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = CELL.path(tmp_path)
    write_record(path, content_of(CELL, scores(DESK, 0.5, 1)))
    return path


def test_what_is_written_is_read(written: Path, tmp_path: Path) -> None:
    record = Results(tmp_path).get(CELL)
    assert record is not None and record.path == written == tmp_path / "desk" / "distillation" / "paced-s1.json"
    expected = scores(DESK, 0.5, 1)["lab:mid"]
    np.testing.assert_array_equal(record.accuracy("lab:mid"), expected / 4)
    np.testing.assert_array_equal(record.tokens("lab:mid"), 20 + expected / 4)
    assert (record.flops, record.training_seconds, record.seconds) == (3e12, 3.0, 4.0)


def test_lists_of_numbers_take_one_line(written: Path) -> None:
    lines = written.read_text().splitlines()
    assert sum('"correct": [' in line and line.rstrip(",").endswith("]") for line in lines) == 4
    assert len(lines) < 150


def test_a_cell_that_was_not_run_has_none(tmp_path: Path) -> None:
    assert Results(tmp_path).get(CELL) is None


def changed(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text(path.read_text()[:400]), "is corrupted"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is corrupted"),
        (lambda path: path.write_text("[]"), "is no record of a cell"),
        (lambda path: changed(path, lambda c: c.pop("scores")), "it lacks scores"),
        (lambda path: changed(path, lambda c: c["scores"]["lab:mid"]["correct"].__setitem__(0, 4)), "does not match its checksum"),
        (lambda path: changed(path, lambda c: c.update(format=2)), "has format 2, this version reads 1"),
    ],
)
def test_damage_is_named(written: Path, tmp_path: Path, damage: Any, message: str) -> None:
    damage(written)
    with pytest.raises(UserError, match=message) as caught:
        Results(tmp_path).get(CELL)
    assert str(written) in str(caught.value) and "\n" not in str(caught.value)


def test_other_options_are_refused_and_new_ones_count_as_their_default(written: Path, tmp_path: Path) -> None:
    content = read_record(written)
    options = content["options"]
    write_record(
        written, {k: v for k, v in content.items() if k != "checksum"} | {"options": {n: v for n, v in options.items() if n != "jsd_beta"}}
    )
    assert Results(tmp_path).get(CELL) is not None
    write_record(written, {k: v for k, v in content.items() if k != "checksum"} | {"options": options | {"learning_rate": 1.0}})
    with pytest.raises(UserError, match=r"differing: learning_rate \(1.0 there"):
        Results(tmp_path).get(CELL)


def test_the_clock_is_not_part_of_what_must_repeat(written: Path) -> None:
    content = read_record(written)
    later = content | {"seconds": {"evaluation": 9.0}, "provenance": {"started": "later"}}
    assert without_circumstances(later) == without_circumstances(content) and checksum(later) != checksum(content)


def test_a_base_stands_for_every_seed(tmp_path: Path) -> None:
    from paced_exp.reproduce.measures import combined, row_named

    write_base(tmp_path, 0.3)
    write_row(tmp_path, "distillation", "paced", 0.6)
    results = Results(tmp_path)
    base, paced = (row_named(results, DESK, "distillation", name) for name in ("base", "paced"))
    found = combined([(1.0, paced), (-1.0, base)], DESK.tiers)
    assert found is not None
    by_hand = np.mean(
        [paced.of(seed).accuracy(tier).mean() - base.of(seed).accuracy(tier).mean() for seed in range(5) for tier in DESK.tiers]
    )
    assert found.value == pytest.approx(100 * by_hand) and found.low > 20


def test_records_of_different_problems_are_not_compared(tmp_path: Path) -> None:
    from paced_exp.reproduce.measures import combined, row_named

    write_row(tmp_path, "distillation", "paced", 0.6, seeds=3)
    write_row(tmp_path, "distillation", "uniform", 0.6, seeds=3)
    cell = cell_of(DESK, TABLE, TABLE.row("uniform"), 2)
    write_record(cell.path(tmp_path), content_of(cell, scores(DESK, 0.5, 1), problems="others"))
    results = Results(tmp_path)
    rows = [row_named(results, DESK, "distillation", name) for name in ("paced", "uniform")]
    with pytest.raises(UserError, match="answer different problems of lab:mid"):
        combined([(1.0, rows[0]), (-1.0, rows[1])], DESK.tiers)
