"""A record comes back as it was written; one that is damaged, changed or of other options is named and refused."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import checksum, write_checked, write_json
from paced_exp.data.sources import load_problems
from paced_exp.reproduce import seal
from paced_exp.reproduce.cells import all_cells, cell_of
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.records import Results, read_record, read_sealed, without_circumstances, write_record
from paced_exp.reproduce.scales import DESK_V1
from tests.support.synthetic import content_of, scores, write_base, write_row

ROOT = Path(__file__).resolve().parents[2]
TABLE = BY_NAME["distillation"]
CELL = cell_of(DESK_V1, TABLE, TABLE.row("paced"), 1)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = CELL.path(tmp_path)
    write_record(path, content_of(CELL, scores(DESK_V1, 0.5, 1)))
    return path


def test_what_is_written_is_read(written: Path, tmp_path: Path) -> None:
    record = Results(tmp_path).get(CELL)
    assert record is not None and record.path == written == tmp_path / "desk-v1" / "distillation" / "paced-s1.json"
    expected = scores(DESK_V1, 0.5, 1)["lab:mid"]
    np.testing.assert_array_equal(record.accuracy("lab:mid"), expected / 4)
    np.testing.assert_array_equal(record.tokens("lab:mid"), 20 + expected / 4)
    assert (record.flops, record.seconds) == (3e12, 4.0)


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
        (lambda path: path.write_text("[]"), "is corrupted"),
        (lambda path: path.write_text("{}"), "is no record of a cell"),
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


def set_first(source: str, name: str, value: Any) -> Any:
    return lambda content: content["scores"][source][name].__setitem__(0, value)


IMPOSSIBLE = [
    (set_first("lab:mid", "correct", 5), r"scores of lab:mid: correct\[0\] is 5, and must be a whole number from 0 to 4"),
    (set_first("lab:mid", "correct", -1), r"correct\[0\] is -1"),
    (set_first("lab:mid", "correct", 1.5), r"correct\[0\] is 1.5"),
    (set_first("lab:mid", "correct", True), r"correct\[0\] is True"),
    (set_first("lab:hard-a", "tokens", -3), r"scores of lab:hard-a: tokens\[0\] is -3"),
    (set_first("lab:hard-a", "tokens", 10_000), r"tokens\[0\] is 10000, and must be a whole number from 0 to 512"),
    (lambda content: content["scores"]["lab:mid"].update(samples=8), "samples 8 must be the planned 4"),
    (lambda content: content["scores"]["lab:mid"]["correct"].pop(), "correct and tokens must be lists of one length"),
    (lambda content: content["scores"]["lab:mid"].update(correct={}), "correct and tokens must be lists"),
    (lambda content: content["scores"]["lab:mid"].update(truncated_share=1.5), "truncated_share must be from 0 to 1"),
    (lambda content: content["scores"].pop("lab:retention"), "scores must be of lab:mid, lab:hard-a, lab:hard-b, lab:retention"),
    (lambda content: content.update(scores=[]), "scores must be of"),
    (lambda content: content["scores"].update({"lab:mid": []}), "no object with the hash"),
    (lambda content: content.update(options=[]), "options is not an object"),
    (lambda content: content["flops"].update(training=-1.0), "flops must be numbers that are finite and not negative"),
    (lambda content: content.update(seconds=[1.0]), "seconds must be numbers"),
    (lambda content: content.update(training=None), "training must be an object"),
    (lambda content: content["training"].update(weights=[]), "training.weights must say how many problems were dropped"),
    (lambda content: content["training"]["weights"].update(dropped=2000), "of how many more; it says 2000 of 2000"),
    (lambda content: content.update(row="uniform"), "is the record of another cell \\(row uniform, not paced\\)"),
    (lambda content: content.update(seed=2), "is the record of another cell \\(seed 2, not 1\\)"),
]


@pytest.mark.parametrize(("change", "message"), IMPOSSIBLE)
def test_what_cannot_have_been_measured_is_refused_whatever_its_checksum(written: Path, tmp_path: Path, change: Any, message: str) -> None:
    content = read_record(written)
    change(content)
    write_checked(written, content)
    with pytest.raises(UserError, match=message) as caught:
        Results(tmp_path).get(CELL)
    assert str(written) in str(caught.value) and "\n" not in str(caught.value)


def test_a_record_that_lost_problems_is_told_by_the_others(written: Path, tmp_path: Path) -> None:
    """The hash of the problems' ids is that of 60 and the counts are of 59: any other record says so."""
    other = cell_of(DESK_V1, TABLE, TABLE.row("paced"), 2)
    content = content_of(other, scores(DESK_V1, 0.5, 2))
    for name in ("correct", "tokens"):
        content["scores"]["lab:hard-b"][name].pop()
    write_record(other.path(tmp_path), content)
    results = Results(tmp_path)
    assert results.get(CELL) is not None
    with pytest.raises(UserError, match=r"paced-s2.json has 59 problems of lab:hard-b where .*paced-s1.json has 60 of the same"):
        results.get(other)


def test_a_record_without_a_checksum_is_refused_with_the_way_to_give_it_one(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    write_json(path, {"kind": "bench_rollouts", "rows": [1, 2.5]})
    before = path.read_text()
    with pytest.raises(UserError, match=f"carries no checksum; .*python -m paced_exp.reproduce.seal {path}"):
        read_sealed(path)
    with pytest.raises(UserError, match="carries no checksum"):
        seal.main(["--check", str(tmp_path)])
    assert path.read_text() == before
    seal.main([str(tmp_path)])
    after = path.read_text()
    assert after.startswith(before[: before.rindex("\n}")] + ',\n "checksum": "sha256:') and read_sealed(path)["rows"] == [1, 2.5]
    seal.main([str(tmp_path)])
    assert path.read_text() == after
    path.write_text(after.replace("2.5", "3.5"))
    with pytest.raises(UserError, match="does not match its checksum"):
        seal.main([str(tmp_path)])


def test_the_folder_is_given_by_its_place_or_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "bench.json", {"kind": "bench_rollouts"})
    for argv in ([str(tmp_path)], ["--check", str(tmp_path)], [str(tmp_path), "--check"], ["--results", str(tmp_path)]):
        seal.main(argv)
        assert capsys.readouterr().out.endswith(f"1 records under {tmp_path} match their checksums\n")
    with pytest.raises(UserError, match="unrecognized arguments: results"):
        seal.main([str(tmp_path), "results"])


def test_every_committed_record_carries_its_checksum(capsys: pytest.CaptureFixture[str]) -> None:
    seal.main(["--check", str(ROOT / "results")])
    assert "records under" in capsys.readouterr().out


@pytest.mark.parametrize("source", DESK_V1.sources)
def test_committed_counts_are_of_the_problems_that_the_source_has(source: str) -> None:
    ids = [problem.id for problem in load_problems(source)]
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
    results = Results(ROOT / "results")
    records = [record for record in results.of(all_cells(DESK_V1)) if source in record.content["scores"]]
    assert records and {record.problems(source) for record in records} == {digest}
    assert {len(record.accuracy(source)) for record in records} == {len(ids)}


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
    base, paced = (row_named(results, DESK_V1, "distillation", name) for name in ("base", "paced"))
    found = combined([(1.0, paced), (-1.0, base)], DESK_V1.tiers)
    assert found is not None
    by_hand = np.mean(
        [paced.of(seed).accuracy(tier).mean() - base.of(seed).accuracy(tier).mean() for seed in range(5) for tier in DESK_V1.tiers]
    )
    assert found.value == pytest.approx(100 * by_hand) and found.low > 20


def test_records_of_different_problems_are_not_compared(tmp_path: Path) -> None:
    from paced_exp.reproduce.measures import combined, row_named

    write_row(tmp_path, "distillation", "paced", 0.6, seeds=3)
    write_row(tmp_path, "distillation", "uniform", 0.6, seeds=3)
    cell = cell_of(DESK_V1, TABLE, TABLE.row("uniform"), 2)
    write_record(cell.path(tmp_path), content_of(cell, scores(DESK_V1, 0.5, 1), problems="others"))
    results = Results(tmp_path)
    rows = [row_named(results, DESK_V1, "distillation", name) for name in ("paced", "uniform")]
    with pytest.raises(UserError, match="answer different problems of lab:mid"):
        combined([(1.0, rows[0]), (-1.0, rows[1])], DESK_V1.tiers)


def test_a_row_is_measured_once_and_anew_for_another_scale(tmp_path: Path) -> None:
    from paced_exp.reproduce.measures import row_named

    write_row(tmp_path, "distillation", "paced", 0.6)
    results = Results(tmp_path)
    first = row_named(results, DESK_V1, "distillation", "paced")
    assert row_named(results, DESK_V1, "distillation", "paced") is first
    later = replace(DESK_V1, first_seed=3)
    assert row_named(results, later, "distillation", "paced").seeds == [3, 4] != first.seeds
    assert row_named(Results(tmp_path), DESK_V1, "distillation", "paced") is not first
