"""Eq. 33 on a probe's record: the ratio is what simulated training steps show, with zero weights in the batch and with them passed over."""

from typing import Any

import numpy as np
import pytest

from paced_exp.probe.step_noise import noise_of, step_noise

NOISE = np.array([3.0, 2.0, 1.5, 1.0, 0.2])
OFFERED = np.array([400, 150, 100, 150, 200])
SIGNAL = np.array([0.3, 0.2, 0.1, 0.4, 0.05])


def panel() -> dict[str, Any]:
    rows = [
        {
            "pass_rate": k / 4,
            "posterior_pass_rate": (k + 0.5) / 5,
            "offered": int(OFFERED[k]),
            "mean_squared_norm": SIGNAL[k] + NOISE[k],
            "snr_squared": SIGNAL[k] / NOISE[k],
        }
        for k in range(5)
    ]
    return {"bins": rows}


def noise_of_steps(weight: np.ndarray, kept: np.ndarray, rng: np.random.Generator) -> float:
    """Mean squared noise of 4,000 steps of 50 problems drawn by the law of those kept, weights of mean one over these."""
    law = OFFERED * kept / (OFFERED * kept).sum()
    k = rng.choice(5, size=(4000, 50), p=law)
    w = weight[k] / float(law @ weight)
    noise = rng.standard_normal((4000, 50)) * np.sqrt(NOISE[k])
    return float(((w * noise).mean(1) ** 2).mean())


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 2.0)])
def test_the_ratio_is_what_simulated_steps_show(alpha: float, beta: float) -> None:
    rng, p = np.random.default_rng(0), np.arange(5) / 4
    weight = p**alpha * (1 - p) ** beta
    found = step_noise(panel(), alpha, beta)
    unweighted = noise_of_steps(np.ones(5), np.ones(5), rng)
    # A variance from 4,000 draws has a relative error of sqrt(2 / 4000) = 2 %, a ratio of two 3 %.
    assert noise_of_steps(weight, np.ones(5), rng) / unweighted == pytest.approx(found.ratio, rel=0.12)
    assert noise_of_steps(weight, 1.0 * (weight > 0), rng) / unweighted == pytest.approx(found.ratio_passed_over, rel=0.12)
    assert found.kept == pytest.approx(0.4)


def test_signal_and_noise_of_a_bin_are_told_apart_exactly() -> None:
    assert noise_of(panel()) == pytest.approx(NOISE, rel=1e-12)


def test_the_exponents_of_a_power_law_come_back_and_unweighted_steps_have_ratio_one() -> None:
    rows = panel()["bins"]
    for row in rows:
        p = row["posterior_pass_rate"]
        row.update(mean_squared_norm=7 * p**-0.2 * (1 - p) ** 0.9, snr_squared=0.0)
    found = step_noise({"bins": rows}, 0.0, 0.0)
    assert found.exponents == pytest.approx((-0.2, 0.9)) and found.ratio == pytest.approx(1.0) == found.ratio_passed_over
    assert step_noise({"bins": rows[:3]}).exponents is None
