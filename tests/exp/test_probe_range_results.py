"""What is estimated of ranges and said of them: ratios to the middle, the verdict on the outermost, the fit, table and figure."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paced_exp.core.errors import UserError
from paced_exp.door.results import SNRCurve
from paced_exp.gradients.engine import GradientSums
from paced_exp.probe.curve import curve_record, estimate_curve
from paced_exp.probe.figure import plot_snr, snr_figure
from paced_exp.probe.fits import exponent_words, mixture_of
from paced_exp.probe.measurement import bin_data
from paced_exp.probe.ranges import RANGES, Ranges
from paced_exp.probe.ratios import _Estimate, ratio, ratios_of
from paced_exp.probe.table import table
from paced_exp.probe.verdict import bin_name, by_rule, end_numbers, words
from paced_exp.reproduce.checks import check_probe
from paced_exp.rollouts.references import Reference
from tests.support.screened import draw, fill

# ---- ratios


def symmetric(value: float, half: float) -> _Estimate:
    return _Estimate(value, value - half, value + half, 0.0)


@given(st.floats(-2, 2), st.floats(0.01, 1), st.floats(0.5, 3), st.floats(0.01, 0.4), st.integers(1, 4))
def test_of_symmetric_intervals_the_ratio_is_fiellers(x: float, x_half: float, y: float, y_half: float, parts: int) -> None:
    """The roots of (x - r y)^2 = x_half^2 + r^2 y_half^2, for a middle of one bin or of several that together have this mean."""
    found = ratio(symmetric(x, x_half), [symmetric(y, y_half * np.sqrt(parts))] * parts)
    roots = np.sort(np.roots([y**2 - y_half**2, -2 * x * y, x**2 - x_half**2]).real)
    assert found is not None and found == pytest.approx((x / y, *roots), rel=1e-6, abs=1e-6)


@given(*[st.floats(0.01, 1)] * 4, st.floats(-1, 1.5), st.floats(0.3, 2), st.floats(0, 0.2))
def test_a_ratio_is_above_one_half_where_the_rule_says_keeps_half(
    down: float, up: float, middle_down: float, middle_up: float, value: float, middle: float, tail: float
) -> None:
    end = _Estimate(value, value - down - tail, value + up, tail)
    centre = [_Estimate(middle, middle - middle_down * factor, middle + middle_up, 0.0) for factor in (1.0, 0.5)]
    found = ratio(end, centre)
    numbers = end_numbers([0.0, 0.4, 0.6], [end, *centre], "low")
    if found is None:
        assert numbers["middle_low"] is not None and numbers["middle_low"] <= 0
        return
    verdict = by_rule(numbers)
    assert (verdict == "keeps at least half") == (found[1] > 0.5) and (verdict == "has less than half") == (found[2] < 0.5)
    assert found[1] <= found[0] <= found[2]


def test_intervals_of_ratios_cover() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        x, y = rng.normal(0.6, 0.3), rng.normal(1.0, 0.2, 2)
        found = ratio(symmetric(x, 1.96 * 0.3), [symmetric(value, 1.96 * 0.2) for value in y])
        hits += found is not None and found[1] <= 0.6 <= found[2]
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


# ---- a record of ranges with a known curve


def gradients_of(rates: np.ndarray, a: float, b: float, rng: np.random.Generator, dimensions: int = 40) -> GradientSums:
    """One gradient a problem: a common direction of squared length 0.5 p^a (1-p)^b, and noise of trace 1."""
    gradients = rng.normal(size=(len(rates), dimensions)) / np.sqrt(dimensions)
    gradients[:, 3] += np.sqrt(0.5 * rates**a * (1 - rates) ** b)
    return GradientSums((gradients**2).sum(1), gradients, float((gradients.sum(0) ** 2).sum()))


def record_of(a: float, b: float, *, capacity: int = 400, seed: int = 0, share: float = 1.0) -> dict[str, Any]:
    drawn = draw(16_000, seed, alpha=0.35, beta=0.43, families=6)
    ranges, _ = fill(drawn, capacity, share)
    rates = {problem.name: problem.p for problem in drawn}
    rng = np.random.default_rng(seed)
    sums: list[GradientSums | None] = [
        gradients_of(np.array([rates[name] for name, _ in members]), a, b, rng) for members in ranges.members
    ]
    return estimated(ranges, sums, share)


def estimated(ranges: Ranges, sums: list[GradientSums | None], share: float = 1.0) -> dict[str, Any]:
    """The record that a run would write of these gradients."""
    references = {name: Reference(name, [1], "teacher", 1, 1) for members in ranges.members for name, _ in members}
    curve = curve_record(estimate_curve(bin_data(ranges, references, sums), replicates=200, seed=0))
    rollouts = {
        "problems_drawn": 16_000,
        "screened": ranges.screened,
        "landed": {group: {str(k): cells for k, cells in by_k.items()} for group, by_k in ranges.landed.items()},
        "fresh": {side: {"screened": 9, "rolled_out": ranges.again(side), "dropped": ranges.dropped(side)} for side in ("low", "high")},  # type: ignore[arg-type]
    }
    config = {
        "student": "lab:student", "teacher": "lab:teacher", "divergence": "forward_kl", "K": 10, "bins": 11, "fresh_rollouts": 100, "family_share": share,
    }  # fmt: skip
    record = {"config": config, **curve, "ratios": ratios_of(curve["bins"]), "rollouts": rollouts, "seconds": {"load": 1.0}}
    return {**record, "mixture": mixture_of(record)}


@pytest.fixture(scope="module")
def bell() -> dict[str, Any]:
    return record_of(1.0, 1.0, share=0.5)


@pytest.fixture(scope="module")
def flat() -> dict[str, Any]:
    return record_of(0.0, 0.0, seed=1)


def test_a_bell_and_a_flat_curve_get_their_verdicts_and_exponents(bell: dict[str, Any], flat: dict[str, Any]) -> None:
    for record, verdict, exponent in ((bell, "has less than half", 1.0), (flat, "keeps at least half", 0.0)):
        assert [record["verdict"][end]["verdict"] for end in ("low", "high")] == [verdict] * 2
        fit = record["mixture"]["fit"]
        assert fit["a_low"] <= exponent <= fit["a_high"] and fit["b_low"] <= exponent <= fit["b_high"]
        assert fit["degrees_of_freedom"] == 7 and 0.001 < fit["chi_squared_p"] <= 1
        assert record["mixture"]["upper_bounds"] == {"confidence": 0.975, "a": fit["a_high"], "b": fit["b_high"]}
        again = {name: value for name, value in record.items() if name != "mixture"}
        assert mixture_of(json.loads(json.dumps(again))) == record["mixture"]
    assert bell["mixture"]["fit"]["a_low"] > 0.2 and flat["mixture"]["upper_bounds"]["a"] < 0.2


def test_ratios_are_of_the_six_outer_ranges_and_of_three_estimands(bell: dict[str, Any], flat: dict[str, Any]) -> None:
    outer = [one.label for one in RANGES if one.side != "middle"]
    assert [row["range"] for row in bell["ratios"]] == outer
    middle = np.mean([row["snr_squared"] for row in bell["bins"][4:6]])
    for row, ours in zip(bell["ratios"], [*bell["bins"][:3], *bell["bins"][-3:]], strict=True):
        assert row["n"] == ours["n"] == 400 and row["snr_squared"]["ratio"] == pytest.approx(ours["snr_squared"] / middle)
        trimmed = np.mean([other["trimmed"] for other in bell["bins"][4:6]])
        assert row["trimmed"]["ratio"] == pytest.approx(ours["trimmed"] / trimmed)
        assert row["unit_norm"]["low"] <= row["unit_norm"]["ratio"] <= row["unit_norm"]["high"]
    assert bell["ratios"][0]["snr_squared"]["high"] < 0.5 and all(row["snr_squared"]["low"] > 0.5 for row in flat["ratios"])
    without = [dict(row, trimmed=None) if row["range"]["label"] == "[0, 0.01)" else row for row in bell["bins"]]
    assert ratios_of(without)[0]["trimmed"] is None and ratios_of(without)[1]["trimmed"] == bell["ratios"][1]["trimmed"]


def test_only_the_outermost_range_is_judged() -> None:
    """Where [0, 0.01) has too few problems nothing is said of the end, whatever [0.01, 0.03) shows."""
    drawn = draw(6000, 0, alpha=0.35, beta=0.43)
    ranges, _ = fill(drawn, 60, 1.0)
    rng = np.random.default_rng(0)
    sums: list[GradientSums | None] = [gradients_of(np.full(len(members), 0.5), 0, 0, rng) for members in ranges.members]
    sums[0] = None
    record = estimated(ranges, sums)
    assert record["bins"][0]["range"]["label"] == "[0.01, 0.03)"
    assert record["verdict"]["low"] == {"end": "p -> 0", "verdict": "not decided", "difference": None}
    assert record["verdict"]["high"]["difference"] is not None
    assert len(record["mixture"]["inside"]) == 9 and record["mixture"]["fit"] is not None


def test_words_of_ranges(bell: dict[str, Any]) -> None:
    assert bin_name(bell, "low") == "the range [0, 0.01)" and bin_name(bell, "high") == "the range (0.99, 1]"
    assert words(bell, "low").startswith("the range [0, 0.01) has less than half of the middle's SNR²")
    assert words(bell, "low").endswith("400 problems, of the 1,000 wanted)")
    rows = [dict(row, n=1000) for row in bell["bins"]]
    assert words({**bell, "bins": rows}, "low").endswith("1000 problems)")


def test_a_record_of_ranges_is_checked(bell: dict[str, Any]) -> None:
    check_probe(Path("record.json"), bell)
    for change in ({"label": "[0, 0.01)"}, {"label": 3, "low": 0.0, "high": 0.1}, "low", {"label": "x", "low": -1, "high": 0.1}):
        rows = [dict(bell["bins"][0], range=change), *bell["bins"][1:]]
        with pytest.raises(UserError, match=r"bins\[0\] must have no range, or an object with `label`, `low` and `high`"):
            check_probe(Path("record.json"), {**bell, "bins": rows})
    swapped = [*bell["bins"][1:]]
    with pytest.raises(UserError, match="verdict low: difference is"):
        check_probe(Path("record.json"), {**bell, "bins": swapped})


def test_the_table_shows_ranges_ratios_families_and_bounds(bell: dict[str, Any], flat: dict[str, Any]) -> None:
    lines = table(bell).splitlines()
    for one, row, line in zip(RANGES, bell["bins"], lines[1:], strict=False):
        assert line.split(maxsplit=2)[:2] == one.label.split() and str(row["n"]) in line and f"{row['snr_squared']:.5f}" in line
    found = bell["ratios"][0]["snr_squared"]
    (shown,) = [line for line in lines if line.startswith("[0, 0.01)") and "400  " in line]
    assert f"{found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}]" in shown
    contents = lines.index("under the law    mean p inside f0 f1 f2 f3 f4 f5")
    mixture = bell["mixture"]
    assert lines[contents + 1].split()[2:4] == [f"{mixture['posterior_pass_rate'][0]:.4f}", f"{mixture['inside'][0]:.0%}"]
    assert [int(text) for text in lines[contents + 1].split()[4:]] == [
        bell["bins"][0]["range"]["families"].get(f"f{i}", 0) for i in range(6)
    ]
    low = bell["rollouts"]["fresh"]["low"]
    assert f"k <= 1: 9 of 16000 problems, {low['rolled_out']} rolled out 100 times more, {low['dropped']} of them" in "\n".join(lines)
    bounds = bell["mixture"]["upper_bounds"]
    assert f"one-sided 97.5 % upper bounds: a ≤ {bounds['a']:.2f}, b ≤ {bounds['b']:.2f}" in lines
    assert any(line.startswith("law of pass rates: one a family, χ²") for line in lines)
    assert exponent_words(bell["mixture"]["fit"], "a") in "\n".join(lines)
    assert not [line for line in table(flat).splitlines() if " f0 " in line], "families are not told apart there"
    unbounded = {**bell, "mixture": {**bell["mixture"], "upper_bounds": {"confidence": 0.975, "a": None, "b": 0.5}}}
    assert "upper bounds: a without bound, b ≤ 0.50" in table(unbounded)


def test_a_notebook_has_a_row_a_range(bell: dict[str, Any]) -> None:
    frame = SNRCurve(bell, "runs/ranges").to_frame()
    assert frame["range"].tolist() == [one.label for one in RANGES] and frame["n"].tolist() == [400] * 10


def test_a_middle_that_is_not_told_from_zero_has_no_ratios(bell: dict[str, Any]) -> None:
    rows = [dict(row, snr_squared_low=-1.0, trimmed_low=-1.0, unit_norm_low=-1.0) for row in bell["bins"]]
    ratios = ratios_of(rows)
    assert all(row[name] is None for row in ratios for name in ("snr_squared", "trimmed", "unit_norm"))
    assert "no ratio to the middle: its SNR² is not told from zero" in table({**bell, "ratios": ratios}).splitlines()


def test_the_figure_names_every_range_side_by_side(bell: dict[str, Any], tmp_path: Path) -> None:
    for axes in snr_figure(bell).axes:
        assert [text.get_text() for text in axes.get_xticklabels()] == [one.label for one in RANGES]
        assert np.diff(axes.get_xticks()) == pytest.approx(np.ones(9))
    first, second = plot_snr(bell, tmp_path / "a"), plot_snr(bell, tmp_path / "b")
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(first, second, strict=True))
    caption = first[3].read_text()
    assert "from 100 fresh ones, which alone decide the outer ranges; at most 50% of a range are of one family" in caption
    assert "a bell whatever" not in caption
