"""Synthetic gradients with a known SNR curve lead to the verdict they should, by the rule as it is written."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from paced_exp.gradients.engine import GradientSums
from paced_exp.probe.curve import BinData, Curve, _artefact, curve_record, estimate_curve
from paced_exp.probe.verdict import words

RATES = np.arange(11) / 10
BELL = 0.3 * 4 * RATES * (1 - RATES)
FLAT = np.full(11, 0.3)
DIMENSIONS = 40
KEEPS, LESS = "keeps at least half", "has less than half"


def bins_of(
    snr_squared: Sequence[float] | np.ndarray, n: int | Sequence[int] = 100, *, seed: int = 0, rates: Sequence[float] | np.ndarray = RATES
) -> list[BinData]:
    """Bins of Gaussian gradients, isotropic noise of trace 1 and a mean of the given squared length."""
    rng, data = np.random.default_rng(seed), []
    sizes = [n] * len(rates) if isinstance(n, int) else n
    for rate, signal, size in zip(rates, snr_squared, sizes, strict=True):
        gradients = rng.normal(size=(size, DIMENSIONS)) / np.sqrt(DIMENSIONS)
        gradients[:, 3] += np.sqrt(signal)
        sums = GradientSums((gradients**2).sum(1), gradients, float((gradients.sum(0) ** 2).sum()))
        data.append(BinData(pass_rate=float(rate), posterior_pass_rate=float((10 * rate + 0.5) / 11), sums=sums, offered=3 * size))
    return data


def estimated(data: list[BinData], seed: int = 0) -> Curve:
    return estimate_curve(data, replicates=300, seed=seed)


def verdicts(curve: Curve) -> tuple[str, str]:
    return curve.verdict["low"]["verdict"], curve.verdict["high"]["verdict"]


# ---- the verdict


@pytest.mark.parametrize(
    ("snr_squared", "expected"),
    [
        (BELL, (LESS, LESS)),
        (FLAT, (KEEPS, KEEPS)),
        (0.3 * np.minimum(1, 3 * (1 - RATES)), (KEEPS, LESS)),
        (0.3 * np.minimum(1, 3 * RATES), (LESS, KEEPS)),
    ],
    ids=["bell", "flat", "falls at p -> 1 only", "falls at p -> 0 only"],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_known_curves_get_their_verdict(snr_squared: np.ndarray, expected: tuple[str, str], seed: int) -> None:
    assert verdicts(estimated(bins_of(snr_squared, seed=seed))) == expected


def test_noise_in_unequal_bins_draws_a_naive_bell_and_gets_no_verdict() -> None:
    sizes = [257, 83, 38, 28, 25, 33, 34, 35, 31, 71, 365]
    told = surprising = 0
    for seed in range(20):
        curve = estimated(bins_of(np.zeros(11), sizes, seed=seed))
        rows = curve.bins
        naive = np.array([row.snr_naive for row in rows])
        # The trap: a bell, three times as high in the middle, from nothing but the floor ...
        assert naive[3:8].mean() > 2 * naive[[0, -1]].mean()
        assert [row.floor for row in rows] == pytest.approx([n**-0.5 for n in sizes])
        # ... which the unbiased estimate does not show.
        told += verdicts(curve) != ("not decided", "not decided")
        surprising += sum(row.snr_squared_low > 0 for row in rows)
    assert told <= 1 and surprising <= 0.05 * 20 * 11


def test_few_problems_leave_it_undecided_and_say_how_many_are_needed() -> None:
    weak = 0.004 * 4 * RATES * (1 - RATES)
    curve = estimated(bins_of(weak, 40, seed=4))
    assert verdicts(curve) == ("not decided", "not decided")
    for end, verdict in curve.verdict.items():
        assert verdict["middle"] > 0 and verdict["problems_needed"] > 40
        said = words(curve_record(curve), end)
        assert "40 problems a bin" in said and f"at least {verdict['problems_needed']} would be needed" in said
    none = curve_record(estimated(bins_of(np.zeros(11), 40, seed=4)))
    assert all("is not told from zero" in words(none, end) for end in ("low", "high"))


def by_the_rule(verdict: dict[str, Any]) -> str:
    if verdict["middle_low"] <= 0:
        return "not decided"
    if verdict["difference_high"] < 0:
        return LESS
    return KEEPS if verdict["difference_low"] > 0 else "not decided"


@pytest.mark.parametrize("seed", range(6))
def test_the_verdict_follows_the_written_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    curve = estimated(bins_of(rng.uniform(0, 0.2, 11), 60, seed=seed))
    rows = {round(row.pass_rate, 9): row.snr_squared for row in curve.bins}
    middle = float(np.mean([rows[rate] for rate in (0.3, 0.4, 0.5, 0.6, 0.7)]))
    for end, rate in (("low", 0.0), ("high", 1.0)):
        verdict = curve.verdict[end]
        assert verdict["middle"] == pytest.approx(middle)
        assert verdict["difference"] == pytest.approx(rows[rate] - middle / 2)
        assert verdict["difference_low"] < verdict["difference"] < verdict["difference_high"]
        assert verdict["middle_low"] < middle < verdict["middle_high"]
        assert verdict["verdict"] == by_the_rule(verdict)
        assert ("problems_needed" in verdict) == (verdict["verdict"] == "not decided" and middle > 0)


@pytest.mark.parametrize(
    ("rates", "low", "high"),
    [
        ([0.2, 0.4, 0.5, 0.6, 1.0], "not decided", LESS),  # no bin near 0
        ([0.0, 0.4, 0.5, 0.6, 0.8], LESS, "not decided"),  # no bin near 1
        ([0.0, 0.1, 0.2, 0.8, 1.0], "not decided", "not decided"),  # no middle
    ],
)
def test_an_end_or_a_middle_that_was_not_reached_is_not_judged(rates: list[float], low: str, high: str) -> None:
    signal = [0.3 * 4 * rate * (1 - rate) for rate in rates]
    curve = estimated(bins_of(signal, 100, rates=rates))
    assert verdicts(curve) == (low, high)
    for end, verdict in (("low", low), ("high", high)):
        if verdict == "not decided":
            assert words(curve_record(curve), end).endswith("not decided, the bins there or in the middle hold too few problems")


# ---- the rows


def test_bins_of_fewer_than_three_problems_are_left_out() -> None:
    curve = estimated(bins_of(BELL, [100, 2, 3, *[100] * 8]))
    assert [row.pass_rate for row in curve.bins] == pytest.approx([0.0, 0.2, *RATES[3:]])
    assert curve.left_out == [{"pass_rate": pytest.approx(0.1), "n": 2, "why": "an interval needs at least 3 problems"}]
    empty = estimated(bins_of(BELL[:2], 2, rates=RATES[:2]))
    assert empty.bins == [] and len(empty.left_out) == 2 and verdicts(empty) == ("not decided", "not decided")
    assert empty.models == [] and empty.models_problem.startswith("no comparison with other shapes: ")


def test_the_point_estimate_uses_the_exact_sum_beside_the_sketch() -> None:
    data = bins_of(BELL)
    sums = data[5].sums
    rng = np.random.default_rng(0)
    rough = sums.sketches @ rng.choice([-1.0, 1.0], size=(DIMENSIONS, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    data[5] = BinData(0.5, 0.5, GradientSums(sums.norms_squared, rough, sums.sum_norm_squared), 300)
    found, exact = estimated(data).bins[5], estimated(bins_of(BELL)).bins[5]
    assert found.snr_squared == pytest.approx(exact.snr_squared, rel=1e-12) and found.snr_naive == pytest.approx(exact.snr_naive)
    assert found.snr_squared_high != exact.snr_squared_high


def test_the_permutation_band_holds_a_flat_curve_and_not_a_bell() -> None:
    inside = [row.null_low <= row.snr <= row.null_high for seed in range(5) for row in estimated(bins_of(FLAT, seed=seed)).bins]
    assert np.mean(inside) > 0.85
    bell = estimated(bins_of(BELL)).bins
    assert bell[5].snr > bell[5].null_high and bell[0].snr < bell[0].null_low and bell[-1].snr < bell[-1].null_low


def test_the_random_sign_level_is_passed_by_signal_and_rarely_by_noise() -> None:
    bell = estimated(bins_of(BELL)).bins
    assert bell[5].snr > bell[5].zero_high
    noise = [row.snr > row.zero_high for seed in range(8) for row in estimated(bins_of(np.zeros(11), seed=seed)).bins]
    assert np.mean(noise) < 0.08, "nominal 2.5 %"


def test_a_bell_is_told_from_a_flat_curve() -> None:
    bell, flat = (curve_record(estimated(bins_of(curve, 200)))["flat"] for curve in (BELL, FLAT))
    assert bell["p_value"] < 1e-6 and flat["p_value"] > 0.05 and bell["degrees"] == 10
    assert flat["snr_squared"] == pytest.approx(0.3, rel=0.2)
    one = curve_record(estimated(bins_of(BELL[:1], 50, rates=[0.5])))["flat"]
    assert one["problem"].startswith("no test of a flat SNR: ")


def test_other_shapes_are_told_apart() -> None:
    rates = (10 * RATES + 0.5) / 11
    curve = estimated(bins_of(0.4 * 4 * rates * (1 - rates), 400))
    by_name = {model["name"]: model for model in curve.models}
    assert by_name["constant"]["delta_aic"] > 10 > by_name["p(1-p)"]["delta_aic"] and curve.models_problem == ""


def test_gradients_that_cancel_give_an_estimate_clipped_at_zero() -> None:
    data = bins_of(np.zeros(11), 100)
    for bin_data in data:  # ||sum g||^2 far below what noise gives
        bin_data.sums.sum_norm_squared = 0.0
    assert all(row.clipped and row.snr == 0 for row in estimated(data).bins)


def test_the_same_seed_gives_the_same_record_and_json_can_hold_it() -> None:
    record = curve_record(estimated(bins_of(BELL), seed=5))
    assert json.loads(json.dumps(record, allow_nan=False)) == curve_record(estimated(bins_of(BELL), seed=5))
    other = curve_record(estimated(bins_of(BELL), seed=6))
    assert other["bins"][5]["snr"] == record["bins"][5]["snr"] and other["bins"][5]["null_high"] != record["bins"][5]["null_high"]
    wanted = {"pass_rate", "n", "snr", "snr_low", "snr_high", "snr_naive", "floor", "null_high"}
    assert all(wanted <= row.keys() for row in record["bins"]) and {"bins", "left_out", "models", "verdict"} <= record.keys()
    assert [row["offered"] for row in record["bins"]] == [300] * 11


# ---- what gives no estimate


@pytest.mark.parametrize(
    ("gradients", "why"),
    [(np.ones((5, DIMENSIONS)), "the gradients do not differ"), (np.full((5, DIMENSIONS), np.nan), "must be finite")],
)
def test_a_bin_without_an_estimate_is_left_out_and_named_and_the_others_stay(gradients: np.ndarray, why: str) -> None:
    data = bins_of(BELL)
    sums = GradientSums((gradients**2).sum(1), gradients, float((gradients.sum(0) ** 2).sum()))
    data[5] = BinData(0.5, 0.5, sums, 300)
    record = curve_record(estimated(data))
    (left_out,) = record["left_out"]
    assert left_out["pass_rate"] == 0.5 and left_out["n"] == 5 and why in left_out["why"]
    assert len(record["bins"]) == 10 and json.dumps(record, allow_nan=False)


def test_a_null_that_is_not_finite_is_none_in_the_record() -> None:
    gradients = np.outer([1.0, 1.0, 1.1], np.eye(DIMENSIONS)[0])  # with equal signs the three hardly differ, with others they do
    sums = GradientSums((gradients**2).sum(1), gradients, float((gradients.sum(0) ** 2).sum()))
    record = curve_record(estimate_curve([BinData(0.5, 0.5, sums, 3)], replicates=300, seed=0))
    assert json.dumps(record, allow_nan=False)


def test_a_sketch_too_small_for_the_artefact_leaves_it_out() -> None:
    data = bins_of(BELL)
    rough = np.full((100, 1), 50.0)  # inner products far above the norms: no vectors have them
    data[5] = BinData(0.5, 0.5, GradientSums(data[5].sums.norms_squared, rough, data[5].sums.sum_norm_squared), 300)
    curve = estimated(data)
    naive = {row["pass_rate"]: row["snr_naive"] for row in _artefact([data[5]])}
    assert naive == {0.5: None} and [row["pass_rate"] for row in curve.left_out] == [0.5]


def test_the_artefact_is_the_naive_estimate_on_bins_as_full_as_chance_fills_them() -> None:
    data = bins_of(np.zeros(11), 200)
    offered = [1200, 300, 150, 120, 110, 100, 110, 120, 150, 300, 1200]
    data = [BinData(d.pass_rate, d.posterior_pass_rate, d.sums, count) for d, count in zip(data, offered, strict=True)]
    rows = estimated(data).artefact
    assert [row["n"] for row in rows] == [200, 50, 25, 20, 18, 16, 18, 20, 25, 50, 200]
    for row, bin_data in zip(rows, data, strict=True):
        mean, spread = bin_data.sums.sketches[: row["n"]].mean(0), bin_data.sums.sketches[: row["n"]].var(0, ddof=1).sum()
        assert row["snr_naive"] == pytest.approx(np.linalg.norm(mean) / np.sqrt(spread))
    heights = [row["snr_naive"] for row in rows]
    assert min(heights[3:8]) > 2 * max(heights[0], heights[-1]), "pure noise looks like a bell"
