"""Figure 11: a point for each row of `neighbours` that has records, where its forgetting and accuracy are."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from figures import figure11_forgetting
from paced_exp.reproduce.cells import row_cells
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.records import Results, write_record
from paced_exp.reproduce.scales import DESK
from tests.support.synthetic import content_of

TABLE = BY_NAME["neighbours"]


def write(results: Path, row: str, solved: int, kept: int) -> None:
    """Two seeds in which `solved` of 32 samples of every tier's problem are correct, and `kept` of every retention problem's."""
    for cell in row_cells(DESK, TABLE, TABLE.row(row), 2):
        correct = {source: np.full(20, kept if source == DESK.retention else solved) for source in DESK.sources}
        content = content_of(cell, correct)
        for scores in content["scores"].values():
            scores["samples"] = 32
        write_record(cell.path(results), content)


@pytest.fixture
def axis() -> Any:
    _, made = plt.subplots()
    yield made
    plt.close("all")


def test_points_are_where_forgetting_and_accuracy_are(tmp_path: Path, axis: Any) -> None:
    write(tmp_path, "base", 8, 24)
    write(tmp_path, "paced", 16, 20)
    write(tmp_path, "grpo", 12, 24)
    assert figure11_forgetting.draw_panel(axis, Results(tmp_path), DESK)
    found = {bar.get_label(): tuple(float(values[0]) for values in bar.lines[0].get_data()) for bar in axis.containers}
    assert found == {"distillation, PACED": (12.5, 50.0), "GRPO": (0.0, 37.5)}
    assert next(line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == "--") == 25.0


def test_without_records_it_says_so_and_equal_records_give_equal_bytes(tmp_path: Path, axis: Any) -> None:
    assert not figure11_forgetting.draw_panel(axis, Results(tmp_path / "none"), DESK)
    assert [text.get_text() for text in axis.texts] == ["not run"]
    write(tmp_path, "base", 8, 24)
    write(tmp_path, "ewc", 16, 20)
    first, second = (figure11_forgetting.draw(tmp_path / name, tmp_path) for name in "ab")
    assert all(left.read_bytes() == right.read_bytes() for left, right in zip(first, second, strict=True))
    plt.close("all")


def test_looks_are_of_rows() -> None:
    assert figure11_forgetting.LOOKS.keys() <= {row.name for row in TABLE.rows}


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"ewc": 1, "kl": 1, "classp": 1}, "PACED's weight forgets less than EWC, KL to the start and CLASSP"),
        ({"ewc": -1, "kl": 1}, "PACED's weight forgets less than KL to the start and more than EWC"),
        ({"ewc": -1, "kl": 0}, "PACED's weight forgets more than EWC; no difference from KL to the start is clear"),
        ({"classp": 0}, "There is no clear difference in forgetting between PACED's weight and CLASSP"),
        ({}, "How much accuracy on other skills each method costs"),
    ],
)
def test_the_headline_says_what_the_intervals_do(found: dict[str, int], says: str) -> None:
    assert figure11_forgetting.headline(found).replace("\n", " ") == says


def test_less_forgotten_is_more_retained(tmp_path: Path) -> None:
    write(tmp_path, "base", 8, 24)
    write(tmp_path, "paced", 16, 20)
    write(tmp_path, "ewc", 16, 22)
    write(tmp_path, "kl", 16, 18)
    _, rows = figure11_forgetting.drawn_rows(Results(tmp_path), DESK)
    assert figure11_forgetting.kept_over(rows, DESK) == {"ewc": -1, "kl": 1}
