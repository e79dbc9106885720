"""Figure 2 is drawn from a record alone, the same bytes each time, and its command refuses a missing record."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from figures import figure2_snr, snr_curves
from paced_exp.gradients.engine import GradientSums
from paced_exp.probe.curve import BinData, curve_record, estimate_curve
from paced_exp.probe.figure import plot_snr
from paced_exp.probe.fits import mixture_of
from paced_exp.probe.verdict import words

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    data = []
    for k in range(11):
        signal = 0.6 * np.sqrt(k / 10 * (1 - k / 10)) * np.eye(40)[0]
        gradients = signal + rng.normal(size=(60, 40)) / np.sqrt(40)
        sums = GradientSums((gradients**2).sum(1), gradients, float((gradients.sum(0) ** 2).sum()))
        data.append(BinData(pass_rate=k / 10, posterior_pass_rate=(k + 0.5) / 11, sums=sums, offered=60))
    curve = estimate_curve(data, replicates=500, seed=0)
    config = {"student": "lab:student", "teacher": "lab:teacher", "divergence": "forward_kl", "K": 10, "bins": 11}
    return {"config": config, **curve_record(curve)}


def test_equal_records_give_equal_bytes(record: dict[str, Any], tmp_path: Path) -> None:
    first, second = plot_snr(record, tmp_path / "a"), plot_snr(record, tmp_path / "b")
    assert [path.name for path in first] == [f"snr_curve.{suffix}" for suffix in ("pdf", "png", "svg", "txt")]
    for left, right in zip(first, second, strict=True):
        assert left.read_bytes() == right.read_bytes()


def test_caption_states_what_was_measured(record: dict[str, Any], tmp_path: Path) -> None:
    caption = plot_snr(record, tmp_path)[3].read_text()
    assert "K = 10 rollouts" in caption and "bins hold 60 problems" in caption
    assert all(words(record, end)[1:] in caption for end in ("low", "high"))


def test_a_record_without_fit_or_law_is_drawn_too(record: dict[str, Any], tmp_path: Path) -> None:
    without_fit = {**record, "mixture": {**mixture_of(record), "fit": None, "problem": "no fit"}}
    without_law = {**record, "mixture": {"law": None, "fit": None, "posterior_pass_rate": None, "problem": "no law"}}
    unlike = {plot_snr(changed, tmp_path)[1].read_bytes() for changed in (record, without_fit, without_law)}
    assert len(unlike) == 3


def test_bins_that_are_missing_are_left_out_of_the_curve(record: dict[str, Any], tmp_path: Path) -> None:
    fewer = {**record, "bins": record["bins"][:4] + record["bins"][6:], "rollouts": {"offered": [60] * 11}}
    assert all(path.stat().st_size > 0 for path in plot_snr(fewer, tmp_path))


def test_the_committed_curves_are_those_of_their_records(tmp_path: Path) -> None:
    """By their captions; `make figures` draws them."""
    shutil.copytree(ROOT / "results" / "desk-v1", tmp_path / "desk-v1", ignore=shutil.ignore_patterns("*.pdf", "*.png", "*.svg"))
    captions = [path for path in snr_curves.draw(tmp_path, "desk-v1") if path.suffix == ".txt"]
    assert len(captions) >= 8
    for path in captions:
        assert path.read_text() == (ROOT / "results" / path.relative_to(tmp_path)).read_text(), f"{path.name}: run: make figures"
    assert [path.name for path in (ROOT / "figures" / "out").glob("figure2*.png")] == ["figure2_snr.png"]
    assert not list((ROOT / "results").rglob("figure2*")), "one picture is called figure 2"


def test_without_a_record_the_figure_says_not_run(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    *_, caption = figure2_snr.draw(tmp_path / "out", tmp_path / "results")
    assert caption.read_text().strip().endswith("not run. python -m paced_exp.reproduce --scale desk --table figure2")


def test_a_folder_of_results_that_is_not_there_is_one_line_and_status_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "figures.figure2_snr", "--results", str(tmp_path / "none"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "none is not a folder" in done.stderr
