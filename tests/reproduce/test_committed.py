"""What is committed under docs/, paper/tables/ and figures/out is what the committed records give: run `make tables figures claims` after a run."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from figures import document_experiments
from figures.command import from_records
from paced_exp.reproduce import claims_page, figure_floats, macros, tables

ROOT = Path(__file__).resolve().parents[2]
# Share of pixels that may differ by more than rounding: text is placed by the font library, whose versions differ by a hair.
TOLERANCE = 0.01


def test_tables_are_byte_identical(tmp_path: Path) -> None:
    tables.main(["--results", str(ROOT / "results"), "--markdown", str(tmp_path / "results.md"), "--latex", str(tmp_path / "tables")])
    assert (tmp_path / "results.md").read_bytes() == (ROOT / "docs" / "results.md").read_bytes(), "run: make tables"
    for path in sorted((tmp_path / "tables").iterdir()):
        assert path.read_bytes() == (ROOT / "paper" / "tables" / path.name).read_bytes(), f"{path.name}: run: make tables"


def test_the_list_of_experiments_is_that_of_the_declarations() -> None:
    assert document_experiments.document() == (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8"), "run: make tables"


def test_claims_are_byte_identical_and_so_are_the_papers_numbers(tmp_path: Path) -> None:
    out = ["--json", str(tmp_path / "claims.json"), "--out", str(tmp_path / "claims.md"), "--latex", str(tmp_path / "tables")]
    claims_page.main(["--results", str(ROOT / "results"), *out])
    assert (tmp_path / "claims.md").read_bytes() == (ROOT / "docs" / "claims.md").read_bytes(), "run: make claims"
    assert (tmp_path / "claims.json").read_bytes() == (ROOT / "results" / "claims.json").read_bytes(), "run: make claims"
    macros.main(["--results", str(ROOT / "results"), "--out", str(tmp_path / "tables" / "numbers.tex")])
    figure_floats.main(["--figures", str(ROOT / "figures" / "out"), "--out", str(tmp_path / "tables")])
    for path in sorted((tmp_path / "tables").iterdir()):
        assert path.read_bytes() == (ROOT / "paper" / "tables" / path.name).read_bytes(), f"{path.name}: run: make figures claims"


def draw(name: str, out: Path) -> list[Path]:
    module = importlib.import_module(f"figures.{name}")
    return module.draw(out, ROOT / "results") if from_records(module.draw) else module.draw(out)


@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "figures" / "out").glob("*.png"))])
def test_figures_are_the_same_pixels(name: str, tmp_path: Path) -> None:
    for path in draw(name, tmp_path):
        committed = ROOT / "figures" / "out" / path.name
        if path.suffix == ".png":
            ours, theirs = (np.asarray(Image.open(file).convert("RGB"), dtype=int) for file in (path, committed))
            assert ours.shape == theirs.shape and (np.abs(ours - theirs).max(axis=2) > 2).mean() <= TOLERANCE, (
                f"{path.name}: run: make figures"
            )
        elif path.suffix == ".txt":
            assert path.read_bytes() == committed.read_bytes(), f"{path.name}: run: make figures"
