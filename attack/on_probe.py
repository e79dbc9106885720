"""Hostile gradients for the last stage of the probe. It always finishes its record and names the bins that it left out."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from attack.harness import Attack
from paced_exp.core.errors import UserError
from paced_exp.gradients.engine import GradientSums
from paced_exp.probe.config import ProbeConfig
from paced_exp.probe.curve import BinData, curve_record, estimate_curve
from paced_exp.probe.fits import mixture_of


def _record(bins: list[np.ndarray], offered: list[int]) -> dict[str, Any]:
    """The part of a probe's record that is estimated from these gradients. Bin k holds the problems with k of K = bins - 1 passes."""
    data = [
        BinData(
            pass_rate=k / (len(bins) - 1),
            posterior_pass_rate=(k + 0.5) / len(bins),
            sums=GradientSums((g**2).sum(1), g, float((g.sum(0) ** 2).sum())),
            offered=count,
        )
        for k, (g, count) in enumerate(zip(bins, offered, strict=True))
    ]
    record = curve_record(estimate_curve(data, replicates=100, seed=0))
    panel = {"config": {"K": len(bins) - 1, "bins": len(bins)}, "bins": record["bins"], "rollouts": {"offered": offered}}
    json.dumps({**record, "mixture": mixture_of(panel)}, allow_nan=False)
    return {**record, "mixture": mixture_of(panel)}


def _noise(bins: int, n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, 30)) for _ in range(bins)]


def one_end_with_signal(_: Path) -> None:
    """Only the last bin has a common direction, so the searches for exponents run to the ends of their ranges."""
    for seed in range(5):
        bins = _noise(5, 40, seed)
        bins[-1] = bins[-1] + 2.0
        record = _record(bins, [100] * 5)
        assert len(record["bins"]) == 5 and (record["mixture"]["fit"] is not None or record["mixture"]["problem"])


def degenerate_gradients(_: Path) -> None:
    """Bins of NaN, of infinity, of zeros, of equal gradients, and of two gradients are named; the other bins are estimated."""
    bins = [*_noise(6, 20), np.full((20, 30), np.nan), np.full((20, 30), np.inf), np.zeros((20, 30)), np.ones((20, 30)), np.ones((2, 30))]
    with np.errstate(invalid="ignore"):
        record = _record(bins, [50] * 11)
    assert len(record["bins"]) == 6 and len(record["left_out"]) == 5 and all(row["why"] for row in record["left_out"])


def sizes_at_the_ends_of_doubles(_: Path) -> None:
    """Gradients of size 1e-60 and 1e60, and one gradient that is 1e3 or 1e9 times as large as the others."""
    for scale in (1e-60, 1e60):
        assert len(_record([g * scale for g in _noise(5, 20)], [50] * 5)["bins"]) == 5
    for factor in (1e3, 1e9):
        bins = _noise(5, 20)
        bins[2][7] *= factor
        record = _record(bins, [50] * 5)
        believed = [row["pass_rate"] for row in record["bins"] if row["snr_squared_covers"]]
        assert believed == [0.0, 0.25, 0.75, 1.0], (
            f"an interval that depends on one gradient, {factor:g} times the others, is marked as covering"
        )


def all_problems_alike(_: Path) -> None:
    """All drawn problems fall into one bin, so no distribution of pass rates can be fitted."""
    record = _record(_noise(5, 20), [500, 0, 0, 0, 0])
    assert record["mixture"]["fit"] is None and record["mixture"]["problem"].startswith("no law of pass rates")


def a_sketch_that_is_too_small(_: Path) -> None:
    """An earlier version ended with "math domain error" for --sketch-size 4, after it had computed all gradients."""
    for size in (-1, 0, 4, 63):
        try:
            ProbeConfig(sketch_size=size)
        except UserError as error:
            assert f"`sketch_size` {size} must be at least 64" in str(error)
        else:
            raise AssertionError(f"sketch_size {size} was accepted")


ATTACKS = [
    Attack("probe", attack.__name__.replace("_", " "), attack, slow=False)
    for attack in (
        one_end_with_signal,
        degenerate_gradients,
        sizes_at_the_ends_of_doubles,
        all_problems_alike,
        a_sketch_that_is_too_small,
    )
]
