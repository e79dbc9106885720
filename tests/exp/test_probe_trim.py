"""Trimming: the gradients left out are the largest, the estimate is that of the kept ones, and a run that is none is refused."""

from pathlib import Path

import numpy as np
import pytest
from probe_setup import hash_grader, models, problems, whole

from paced_exp.errors import UserError
from paced_exp.gradients import GradientSums
from paced_exp.probe import trim
from paced_exp.probe.trim import largest_share, trimmed
from paced_exp.run_folder import read_json
from paced_theory.snr import estimate_snr


def sums_of(gradients: np.ndarray, sketches: np.ndarray | None = None) -> GradientSums:
    return GradientSums((gradients**2).sum(1), gradients if sketches is None else sketches, float((gradients.sum(0) ** 2).sum()))


def heavy(n: int = 101, m: int = 30) -> np.ndarray:
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(n, m)) + 0.3
    gradients[[5, 50, 77]] *= 40.0
    return gradients


@pytest.mark.parametrize(("share", "left"), [(0.01, 2), (0.03, 4), (0.5, 51)])
def test_what_is_kept_is_what_remains_without_the_largest(share: float, left: int) -> None:
    gradients = heavy()
    kept = np.argsort((gradients**2).sum(1))[: len(gradients) - left]
    found, wanted = trimmed(sums_of(gradients), share), sums_of(gradients[np.sort(kept)])
    assert found.norms_squared.tolist() == wanted.norms_squared.tolist() and (found.sketches == wanted.sketches).all()
    assert found.sum_norm_squared == pytest.approx(wanted.sum_norm_squared, rel=1e-9)
    held = (gradients**2).sum() - wanted.norms_squared.sum()
    assert largest_share(sums_of(gradients), share) == pytest.approx(held / (gradients**2).sum())


def test_with_real_sketches_the_sum_is_right_on_average() -> None:
    """||sum of the kept||^2 from random projections of 64 numbers, mean over 400 of them."""
    gradients = heavy(m=300)
    exact = sums_of(gradients[np.sort(np.argsort((gradients**2).sum(1))[:-4])]).sum_norm_squared
    found = []
    for seed in range(400):
        projection = np.random.default_rng(seed).choice([-1.0, 1.0], size=(300, 64)) / 8
        found.append(trimmed(sums_of(gradients, gradients @ projection), 0.03).sum_norm_squared)
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - exact) < 4 * error


def test_a_finished_probe_is_trimmed(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trim.main([str(whole), "--share", "0.2", "--out", str(tmp_path)])
    record, before = read_json(tmp_path / "record.json"), read_json(whole / "record.json")
    assert [row["n"] for row in record["bins"]] == [row["n"] - int(np.ceil(0.2 * row["n"])) for row in before["bins"]]
    with np.load(whole / "gradients" / "bin-002.npz") as data:
        kept = np.sort(np.argsort(data["norms_squared"])[: record["bins"][2]["n"]])
        estimate = estimate_snr(data["sketches"][kept].astype(float))
    # The sketches alone tell the same story, up to their own error.
    assert record["bins"][2]["snr_squared"] == pytest.approx(estimate.snr_squared, abs=0.2)
    assert len(record["largest_share"]) == len(record["bins"]) and "p -> 0:" in capsys.readouterr().out


def test_what_is_no_finished_probe_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder of a finished probe"):
        trim.main([str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(UserError, match=r"--share 1.0 must lie between 0 and 1"):
        trim.main([str(whole), "--share", "1", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
