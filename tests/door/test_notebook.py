"""examples/door.ipynb runs in a real kernel, shows what it says, and is kept with the outputs of such a run."""

import re
import runpy
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "door.ipynb"
executed = runpy.run_path(str(ROOT / "examples" / "execute.py"))["executed"]  # by its path: site-packages may have an `examples` too
SECONDS = 120  # of processor time of the kernel and its children on one core, as the notebook promises


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Any:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("import os; print(sum(os.times()[:4]))"))
    folder = tmp_path_factory.mktemp("notebook")
    executed(notebook, str(folder), IPYTHONDIR=str(tmp_path_factory.mktemp("ipython")))
    assert not list(folder.iterdir()), "a run without `out` leaves nothing in the reader's folder"
    return notebook


def outputs(notebook: Any, source: str) -> dict[str, Any]:
    """What the cell that is `source`, or ends with that line, has for its value."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.split("\n")[-1] == source]
    (data,) = [output.data for output in cell.outputs if output.output_type == "execute_result"]
    return dict(data)


@pytest.mark.slow
def test_the_notebook_runs_in_the_time_it_promises(ran: Any) -> None:
    assert float(ran.cells[-1].outputs[0].text) < SECONDS
    assert not [output for cell in ran.cells if cell.cell_type == "code" for output in cell.outputs if output.output_type == "error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("rates", "200 problems, 800 rollouts of lab:student"),
        ("w", "200 problems, "),
        ("run", "lab:student distilled from lab:teacher"),
        ("evaluation", "less lab:student, points"),
        ("curve", "data:image/png;base64,"),
    ],
)
def test_results_are_shown_richly(ran: Any, cell: str, words: str) -> None:
    shown = outputs(ran, cell)
    assert words in shown["text/html"] and shown["text/plain"]


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["w.plot()", "run.plot()", "evaluation.plot()"])
def test_figures_are_shown_once(ran: Any, cell: str) -> None:
    assert outputs(ran, cell)["image/png"]
    (found,) = [part for part in ran.cells if part.source == cell]
    assert len(found.outputs) == 1


@pytest.mark.slow
def test_progress_is_drawn_as_on_a_terminal(ran: Any) -> None:
    text = "".join(
        output.text for cell in ran.cells if cell.cell_type == "code" for output in cell.outputs if output.get("name") == "stderr"
    )
    assert re.search(r"rollouts: 100%\|█+\| 800/800 ", text) and "\r" in text
    # tqdm asks for ipywidgets where they are missing; whichever library imports it first is told so.
    assert re.findall(r"\w*Warning\b", text) in ([], ["TqdmWarning"])


def test_the_notebook_is_kept_with_its_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run `make notebook`"
    kinds = [(output.output_type, output.get("name")) for cell in code for output in cell.outputs]
    assert set(kinds) == {("execute_result", None)} and len(kinds) == len(code) - 1  # the first cell only imports
    text = NOTEBOOK.read_text()
    assert str(ROOT) not in text and "/tmp/" not in text and len(text) < 1_000_000
    assert "200 problems, 800 rollouts of lab:student" in outputs(notebook, "rates")["text/html"]
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", "".join(cell.source for cell in notebook.cells)):
        assert (NOTEBOOK.parent / link).exists(), link


@pytest.mark.slow
def test_what_is_kept_is_what_a_run_shows(ran: Any) -> None:
    """In kind: numbers may differ with the processor."""
    for cell, run in zip(nbformat.read(NOTEBOOK, as_version=4).cells, ran.cells, strict=False):
        shown = [set(output.data) for output in run.get("outputs", []) if output.output_type == "execute_result"]
        assert cell.source == run.source and [set(output.data) for output in cell.get("outputs", [])] == shown
