"""Cells on tiny random models: records that repeat, shared work done once, a kill that costs nothing, a base that is only evaluated."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from paced_exp.core.json_files import read_json
from paced_exp.reproduce import run_cell
from paced_exp.reproduce.cells import Cell, cell_of
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.records import Results, read_record, without_circumstances
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.shared import shared_by


def run(cell: Cell, results: Path, work: Path, **options: Any) -> dict[str, Any]:
    for piece in shared_by(cell, work).values():
        piece.run()
    return read_record(run_cell.run_cell(cell, results, work, **options))


def made_of(scale: Scale, table: str, row: str) -> Cell:
    return cell_of(scale, BY_NAME[table], BY_NAME[table].row(row), 0)


@pytest.fixture(scope="module")
def first(scale: Scale, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results and work of two cells and the base."""
    folder = tmp_path_factory.mktemp("first")
    for row in ("base", "uniform", "paced"):
        run(made_of(scale, "distillation", row), folder / "results", folder / "work")
    return folder


def test_the_record_holds_what_tables_read(scale: Scale, first: Path) -> None:
    record = Results(first / "results").get(made_of(scale, "distillation", "paced"))
    assert record is not None
    assert [len(record.accuracy(source)) for source in scale.sources] == [5] * 4
    assert record.content["training"]["updates"] == 2 and record.content["training"]["weights"]["problems"] == 24
    flops = record.content["flops"]
    assert flops["training"] > 0 and flops["teacher"] > 0 and flops["pass_rates"] > 0 and flops["rollouts"] == 0
    assert record.content["provenance"]["versions"]["torch"]
    uniform = Results(first / "results").get(made_of(scale, "distillation", "uniform"))
    assert uniform is not None and uniform.content["flops"]["pass_rates"] == 0
    # Both train on as many problems; the model trained with weights is another.
    assert uniform.content["training"]["updates"] == 2 and not list((first / "work" / "tiny" / "cells").iterdir())


def test_flops_are_counted_by_hand(scale: Scale, first: Path) -> None:
    """Pass rates: 24 problems, 4 rollouts each that read the prompt once, 2 operations a parameter and token; the embedding is tied, so it counts."""
    from paced_exp.data.prompts import prompt_ids
    from paced_exp.data.sources import load_problems
    from paced_exp.models.loading import load_model
    from paced_exp.rollouts.pass_rates import read_pass_rates
    from paced_exp.training.teachers import matmul_parameters

    cell = made_of(scale, "distillation", "paced")
    folder = shared_by(cell, first / "work")["pass_rates"].folder
    student = load_model(scale.setups["distillation"].student, device="cpu", dtype="float32")
    rates = read_pass_rates(str(folder / "pass_rates.parquet"), None)
    prompts = [len(prompt_ids(student.tokenizer, problem)) for problem in load_problems(scale.problems)]
    tokens = 4 * rates["mean_tokens"].sum() + sum(prompts)
    found = read_record(cell.path(first / "results"))["flops"]["pass_rates"]
    assert found == pytest.approx(2 * matmul_parameters(student.model) * tokens, rel=1e-5)


def test_the_same_seed_gives_the_same_record(scale: Scale, first: Path, tmp_path: Path) -> None:
    for row in ("base", "paced"):
        cell = made_of(scale, "distillation", row)
        again = run(cell, tmp_path / "results", tmp_path / "work")
        before = read_record(cell.path(first / "results"))
        assert without_circumstances(again) == without_circumstances(before)


def test_shared_work_is_done_once_and_read_by_cells(scale: Scale, first: Path) -> None:
    paced, uniform = (made_of(scale, "distillation", row) for row in ("paced", "uniform"))
    hers, his = shared_by(paced, first / "work"), shared_by(uniform, first / "work")
    assert hers["references"] == his["references"] and hers["base"] == his["base"] and "pass_rates" not in his
    assert all(piece.done for piece in hers.values())
    references = read_json(hers["references"].folder / "record.json")["references"]
    assert sum(references.values()) == 24
    # A kernel more needs nothing new; other rollouts do.
    gaussian, more = made_of(scale, "kernels", "gaussian"), made_of(scale, "rollouts", "k2-plugin")
    assert shared_by(gaussian, first / "work") == hers
    assert shared_by(more, first / "work")["pass_rates"] != hers["pass_rates"]


def test_a_killed_cell_goes_on_to_the_same_record(scale: Scale, first: Path, tmp_path: Path) -> None:
    cell = made_of(scale, "distillation", "paced")
    for piece in shared_by(cell, tmp_path / "work").values():
        piece.run()
    for point in ("trained.json", "scores.parquet", "paced-s0.json"):
        pid = os.fork()
        if pid == 0:
            rename = os.replace

            def stop(source: Any, destination: Any, name: str = point, rename: Any = rename) -> None:
                if Path(destination).name == name:
                    os.kill(os.getpid(), signal.SIGKILL)
                rename(source, destination)

            os.replace = stop  # type: ignore[assignment]
            run_cell.run_cell(cell, tmp_path / "results", tmp_path / "work")
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL, point
        assert not cell.path(tmp_path / "results").exists()
    again = read_record(run_cell.run_cell(cell, tmp_path / "results", tmp_path / "work"))
    before = read_record(cell.path(first / "results"))
    assert without_circumstances(again) == without_circumstances(before)


def test_on_policy_and_masked_cells_run_and_keep_their_models(scale: Scale, first: Path, tmp_path: Path) -> None:
    for table, row in (("two-stage", "forward-reverse"), ("masks", "paced-steps"), ("concise", "uniform"), ("recomputation", "half")):
        cell = made_of(scale, table, row)
        record = run(cell, tmp_path / "results", first / "work", keep=True)
        assert (run_cell.cell_folder(cell, first / "work") / "model" / "model.safetensors").exists()
        assert (record["flops"]["rollouts"] > 0) == (table != "masks")
