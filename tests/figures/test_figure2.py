"""Figure 2 is drawn from a record alone, the same bytes each time, and its command refuses a missing record."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from figures import figure2_snr
from paced_exp.gradients import GradientSums
from paced_exp.plotting.snr import plot_snr
from paced_exp.probe.estimates import BinData, curve_record, estimate_curve


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
    config = {"student": "lab:student", "teacher": "lab:teacher", "divergence": "forward_kl", "K": 10}
    return {"config": config, **curve_record(curve)}


def test_equal_records_give_equal_bytes(record: dict[str, Any], tmp_path: Path) -> None:
    first, second = plot_snr(record, tmp_path / "a"), plot_snr(record, tmp_path / "b")
    assert [path.name for path in first] == [f"figure2_snr.{suffix}" for suffix in ("pdf", "png", "svg", "txt")]
    for left, right in zip(first, second, strict=True):
        assert left.read_bytes() == right.read_bytes()


def test_caption_states_what_was_measured(record: dict[str, Any], tmp_path: Path) -> None:
    caption = plot_snr(record, tmp_path)[3].read_text()
    assert "K = 10 rollouts" in caption and "bins hold 60 problems" in caption
    assert record["verdict"]["low"]["words"] in caption and record["verdict"]["high"]["words"] in caption


def test_a_record_without_fit_is_drawn_too(record: dict[str, Any], tmp_path: Path) -> None:
    assert all(path.stat().st_size > 0 for path in plot_snr({**record, "fit": None}, tmp_path))


def test_without_a_record_the_figure_says_not_run(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    *_, caption = figure2_snr.draw(tmp_path / "out", tmp_path / "results")
    assert caption.read_text().strip().endswith("not run. python -m paced_exp.reproduce --scale desk --table figure2")


def test_a_folder_of_results_that_is_not_there_is_one_line_and_status_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "figures.figure2_snr", "--results", str(tmp_path / "none"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "none is not a folder" in done.stderr
