"""What is committed under docs/, paper/tables/ and figures/out is what the committed records give: run `make tables figures` after a run."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from figures import figure1_overview, figure3_prompts, figure4_compute, figure5_histogram, figure6_claims
from paced_exp.reproduce import tables

ROOT = Path(__file__).resolve().parents[2]
# Share of pixels that may differ by more than rounding: text is placed by the font library, whose versions differ by a hair.
TOLERANCE = 0.01


def test_tables_are_byte_identical(tmp_path: Path) -> None:
    tables.main(["--results", str(ROOT / "results"), "--markdown", str(tmp_path / "results.md"), "--latex", str(tmp_path / "tables")])
    assert (tmp_path / "results.md").read_bytes() == (ROOT / "docs" / "results.md").read_bytes(), "run: make tables"
    for path in sorted((tmp_path / "tables").iterdir()):
        assert path.read_bytes() == (ROOT / "paper" / "tables" / path.name).read_bytes(), f"{path.name}: run: make tables"


@pytest.mark.parametrize(
    "module", [figure1_overview, figure3_prompts, figure4_compute, figure5_histogram, figure6_claims], ids=lambda module: module.NAME
)
def test_figures_are_the_same_pixels(module, tmp_path: Path) -> None:
    from_records = module in (figure4_compute, figure5_histogram, figure6_claims)
    drawn = module.draw(tmp_path, ROOT / "results") if from_records else module.draw(tmp_path)
    for path in drawn:
        committed = ROOT / "figures" / "out" / path.name
        if path.suffix == ".png":
            ours, theirs = (np.asarray(Image.open(file).convert("RGB"), dtype=int) for file in (path, committed))
            assert ours.shape == theirs.shape and (np.abs(ours - theirs).max(axis=2) > 2).mean() <= TOLERANCE, (
                f"{path.name}: run: make figures"
            )
        elif path.suffix == ".txt":
            assert path.read_bytes() == committed.read_bytes(), f"{path.name}: run: make figures"
