"""A table is one declaration in one file: what is run, printed and listed follows from it."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from figures import document_experiments
from paced_exp.reproduce import tables
from paced_exp.reproduce.__main__ import main as reproduce
from paced_exp.reproduce.grids import BY_NAME, TABLES, Row, Table, declare
from paced_exp.reproduce.measures import accuracies, measure_row
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK
from tests.support.synthetic import write_base, write_row

DECLARATION = """
from paced_exp.reproduce.columns import Column, forgetting, mean_of_tiers
from paced_exp.reproduce.second_grids import ONE_PASS, PACED, UNIFORM
from paced_exp.reproduce.declared import Row, Table, declare


def hardest(scale):
    return (Column("hardest, %", "accuracy", scale.tiers[-1:], 1),)


declare(
    Table(
        99,
        "temperatures",
        "Temperature of the rollouts",
        (
            Row("uniform", "unweighted", {**ONE_PASS, **UNIFORM}),
            Row("cool", "PACED at 0.7", {**ONE_PASS, **PACED, "temperature": 0.7}),
        ),
        baseline="uniform",
        columns=(mean_of_tiers, hardest, forgetting),
    )
)
"""


@pytest.fixture
def declared(tmp_path: Path) -> Iterator[Table]:
    """The table of a module that lies in a file of its own."""
    file = tmp_path / "temperatures.py"
    file.write_text(DECLARATION)
    spec = importlib.util.spec_from_file_location("temperatures", file)
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield BY_NAME["temperatures"]
    del BY_NAME["temperatures"]


def test_it_is_printed_from_its_records(declared: Table, tmp_path: Path) -> None:
    results = tmp_path / "results"
    write_base(results, 0.3, DESK)
    write_row(results, "temperatures", "uniform", 0.4, 3, DESK)  # the cell of table 22, whose record it is
    write_row(results, "temperatures", "cool", lambda seed: 0.7 + 0.1 * (seed - 100), 3, DESK)
    assert sorted(path.name for path in (results / "desk" / "temperatures").iterdir()) == [f"cool-s{seed}.json" for seed in range(100, 103)]
    tables.main(["--results", str(results), "--markdown", str(tmp_path / "page.md"), "--latex", str(tmp_path / "tex")])
    page = (tmp_path / "page.md").read_text()
    own = page.split("### Table 99. Temperature of the rollouts\n")[1].split("###")[0]
    head, *rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in own.splitlines() if re.match(r"\| \w", line)]
    assert head == ["method", "mean of tiers, %", "hardest, %", "forgetting, points", "TFLOPs", "seeds"]
    cool = measure_row(Results(results), DESK, declared, declared.row("cool"))
    hardest = accuracies(cool, DESK.tiers[-1])
    assert rows[1][0] == "PACED at 0.7" and rows[1][2] == f"{np.mean(hardest):.1f} ± {np.std(hardest, ddof=1) / np.sqrt(3):.2f}"
    assert rows[1][-1] == "3" and "### Table 99, differences" in page
    assert (tmp_path / "tex" / "desk-temperatures.tex").exists() and (tmp_path / "tex" / "desk-temperatures-differences.tex").exists()


def test_it_is_listed_and_planned(declared: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(["--list"]) == 0
    assert "99 temperatures: Temperature of the rollouts (10 cells, 5 of its own)" in capsys.readouterr().out
    plan = ["--table", "temperatures", "--dry-run", "--results", str(tmp_path / "results"), "--work", str(tmp_path / "work")]
    assert reproduce(plan) == 0
    planned = capsys.readouterr().out
    assert "temperatures/cool-s102" in planned and "one-pass/uniform-s102" in planned and "10 cells to run" in planned
    assert "| 99 | `temperatures` | Temperature of the rollouts | unweighted; PACED at 0.7 |" in document_experiments.document()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": 1}, "another table has its number or its name"),
        ({"name": "distillation"}, "another table has its number or its name"),
        ({"baseline": "other"}, "`baseline` other is none of its rows: uniform"),
        (
            {"rows": (Row("uniform", "unweighted"), Row("ace", "ACE", against="grpo"))},
            "`against of ace` grpo is none of its rows: uniform, ace",
        ),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    before = list(TABLES)
    values = {"number": 99, "name": "new", "title": "New", "rows": (Row("uniform", "unweighted"),), "baseline": "uniform", **changes}
    with pytest.raises(ValueError, match=message):
        declare(Table(**values))  # type: ignore[arg-type]
    assert list(TABLES) == before
