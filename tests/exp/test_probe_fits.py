"""The fit through the mixture from a record: exponents come back, counts find their bins, old and new records agree, nothing raises."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from paced_exp.probe.fits import counts_of, exponent_words, fit_lines, law_of, mixture_of, rivals

ROOT = Path(__file__).resolve().parents[2]


def panel(a: float, b: float, *, K: int = 10, bins: int = 11, error: float = 0.01, seed: int = 0) -> dict[str, Any]:
    """A record of bins of uniform pass rates with SNR^2 = p^a (1-p)^b and equal noise, by drawing 400,000 problems."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(size=400_000)
    bin_of = np.minimum(rng.binomial(K, p) * bins // K, bins - 1)
    rows, offered = [], [0] * bins
    for index in np.unique(bin_of):
        rates = p[bin_of == index]
        offered[index] = len(rates)
        value = float(np.sqrt(rates**a * (1 - rates) ** b).mean() ** 2) + error * rng.standard_normal()
        counts = [k for k in range(K + 1) if min(k * bins // K, bins - 1) == index]
        rows.append(
            {
                "pass_rate": float(np.mean(counts)) / K,
                "posterior_pass_rate": float(np.mean(counts) + 0.5) / (K + 1),
                "offered": len(rates),
                "snr_squared": value,
                "snr_squared_low": value - 1.96 * error,
                "snr_squared_high": value + 1.96 * error,
                "mean_squared_norm": 1 + value,
            }
        )
    return {"config": {"K": K, "bins": bins}, "bins": rows, "rollouts": {"offered": offered}}


@pytest.mark.parametrize(("K", "bins"), [(10, 11), (40, 11), (16, 6)])
def test_exponents_come_back_with_a_test_of_the_fit(K: int, bins: int) -> None:
    found = mixture_of(panel(1.0, 0.5, K=K, bins=bins))
    fit = found["fit"]
    assert found["problem"] == "" and fit["a_low"] < 1.0 < fit["a_high"] and fit["b_low"] < 0.5 < fit["b_high"]
    assert fit["a"] < fit["a_upper"] < fit["a_high"] and fit["degrees_of_freedom"] == len(fit["fitted"]) - 3
    assert 0.001 < fit["chi_squared_p"] <= 1 and json.dumps(found, allow_nan=False)


def test_a_wrong_shape_is_seen_in_chi_squared() -> None:
    record = panel(1.0, 1.0)
    for row, sign in zip(record["bins"], [1, -1] * 6, strict=False):
        for name in ("snr_squared", "snr_squared_low", "snr_squared_high"):
            row[name] += 0.05 * sign
    fit = mixture_of(record)["fit"]
    assert fit["chi_squared"] > 100 and fit["chi_squared_p"] < 1e-10 and fit["scale"] > 3


def test_the_mean_pass_rate_of_each_bin_is_that_of_its_problems() -> None:
    record = panel(0.0, 0.0)
    # Uniform pass rates: k of 10 passed leaves Beta(k + 1, 11 - k), of mean (k + 1) / 12.
    assert mixture_of(record)["posterior_pass_rate"] == pytest.approx((np.arange(11) + 1) / 12, abs=5e-3)
    assert law_of(record)[0].counts_law() == pytest.approx(np.full(11, 1 / 11), abs=2e-3)


@pytest.mark.parametrize(("K", "bins"), [(10, 11), (10, 10), (40, 11), (4, 5), (3, 7), (100, 100)])
def test_rows_find_their_counts(K: int, bins: int) -> None:
    rng = np.random.default_rng(0)
    passes = rng.integers(0, K + 1, 5000)
    index = np.minimum(passes * bins // K, bins - 1)
    # Rows as a probe writes them: the mean of k/K over a bin's members.
    filled = np.unique(index)
    rows = [{"pass_rate": float(np.mean(passes[index == i]) / K), "offered": int((index == i).sum())} for i in filled]
    offered = np.bincount(index, minlength=bins).tolist()
    record = {"config": {"K": K, "bins": bins}, "bins": rows, "rollouts": {"offered": offered}}
    found = counts_of(record)
    assert sorted(k for cell in found.cells for k in cell) == list(range(K + 1))
    assert [found.offered[i] for i in found.rows] == [row["offered"] for row in rows]
    del record["rollouts"]
    assert counts_of(record) == found


def test_a_record_holds_what_is_computed_from_it_later() -> None:
    record = panel(0.7, 0.7)
    stored = {**record, "mixture": mixture_of(record)}
    assert mixture_of(json.loads(json.dumps(stored))) == mixture_of(record)


@pytest.mark.parametrize("change", ["no signal", "three bins", "one bin drawn", "one rollout", "no bins"])
def test_what_cannot_be_fitted_is_said(change: str) -> None:
    record = panel(1.0, 1.0)
    if change == "no signal":
        for row in record["bins"]:
            row.update(snr_squared=-0.1, snr_squared_low=-0.2, snr_squared_high=0.0)
    elif change == "one bin drawn":
        record["rollouts"]["offered"] = [100] + [0] * 10
    elif change == "one rollout":
        record["config"], record["rollouts"]["offered"], record["bins"] = {"K": 1, "bins": 2}, [5, 5], []
    else:
        record["bins"] = record["bins"][: {"three bins": 3, "no bins": 0}[change]]
    found = mixture_of(record)
    assert found["fit"] is None and found["problem"].startswith(("no fit of c p^a (1-p)^b: ", "no law of pass rates: "))
    assert fit_lines(found)[-1] == f"not fitted: {found['problem']}" and json.dumps(found, allow_nan=False)


def test_one_end_bin_alone_with_signal_gives_a_result_or_a_reason() -> None:
    """A hand-written Newton step used to raise ArithmeticError here, in the last stage of a probe and in every rerun."""
    rng = np.random.default_rng(0)
    outcomes = []
    for draw in range(40):
        bins = 11 if draw % 2 else 5
        value = np.where(np.arange(bins) == bins - 1, 0.01, 0) + 5e-4 * rng.standard_normal(bins)
        rows = [
            {"posterior_pass_rate": (k + 0.5) / bins, "snr_squared": v, "snr_squared_low": v - 1e-3, "snr_squared_high": v + 1e-3}
            for k, v in enumerate(value)
        ]
        outcomes.append(rivals(rows))
    assert all((models == []) == (problem != "") for models, problem in outcomes)
    assert rivals(rows[:2])[1].startswith("no comparison with other shapes: ")


def test_bounds_of_the_search_are_not_printed_as_numbers() -> None:
    fit = {"a": 0.2, "a_low": -1.0, "a_high": 10.0, "a_upper": 0.456}
    assert exponent_words(fit, "a") == "a = 0.20 [no bound, no bound] (at most 0.46)"
    assert exponent_words({**fit, "a_upper": 10.0}, "a") == "a = 0.20 [no bound, no bound] (no bound)"


def test_the_laws_counts_of_committed_records_are_those_drawn() -> None:
    record = json.loads((ROOT / "results" / "desk-v1" / "snr_verdict" / "qwen3" / "record.json").read_text())
    law, posterior = law_of(record)
    assert posterior.shape == (11, law.mass.size) and posterior.sum(axis=1) == pytest.approx(np.ones(11))
    # The law's own probabilities of k, summed here over its nodes by scipy's binomial.
    expected = (binom.pmf(np.arange(11)[:, None], 10, law.pass_rate) * law.mass).sum(axis=1)
    offered = np.array(record["rollouts"]["offered"])
    assert expected * offered.sum() == pytest.approx(offered, rel=0.06)
    assert law.chi_squared == pytest.approx(((offered - expected * offered.sum()) ** 2 / (expected * offered.sum())).sum(), rel=1e-6)
