"""Figures from records: drawn from what the records say, the same bytes each time, and honest where nothing was run."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from figures import (
    figure1_overview,
    figure3_prompts,
    figure4_compute,
    figure5_histogram,
    figure6_claims,
    figure7_regime,
    figure8_utility,
    figure9_bins,
)
from paced_exp.data.prompts import user_message
from paced_exp.plotting.labels import spread
from paced_exp.reproduce.advice import AtCompute
from paced_exp.reproduce.findings import Finding
from paced_exp.reproduce.measures import primaries, row_named
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK
from paced_exp.reproduce.significance import Estimate
from paced_exp.reproduce.verdicts import outcomes
from tests.support.synthetic import write_base, write_row

DRAWN_FROM_RECORDS = (figure4_compute, figure5_histogram, figure6_claims, figure7_regime)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    write_base(results, 0.3, DESK)
    for row, accuracy in (("uniform", 0.5), ("paced", 0.7)):
        write_row(results, "one-pass", row, accuracy, 10, DESK)
    return results


def drawn(module, results: Path, monkeypatch: pytest.MonkeyPatch) -> Figure:
    saved: list[Figure] = []
    monkeypatch.setattr(module, "save_figure", lambda figure, *args, **kwargs: saved.append(figure) or [])
    module.draw(results, results)
    plt.close("all")
    return saved[0]


@pytest.mark.parametrize("module", [figure1_overview, figure3_prompts], ids=lambda module: module.NAME)
def test_fixed_figures_give_the_same_bytes(module, tmp_path: Path) -> None:
    first, second = (module.draw(tmp_path / run) for run in "ab")
    assert [path.suffix for path in first] == [".pdf", ".png", ".svg", ".txt"]
    for left, right in zip(first, second, strict=True):
        assert left.read_bytes() == right.read_bytes()


@pytest.mark.parametrize("module", DRAWN_FROM_RECORDS, ids=lambda module: module.NAME)
def test_equal_records_give_equal_bytes(module, filled: Path, tmp_path: Path) -> None:
    first, second = (module.draw(tmp_path / run, filled) for run in "ab")
    for left, right in zip(first, second, strict=True):
        assert left.read_bytes() == right.read_bytes()


@pytest.mark.parametrize(("scale", "end"), [("desk", "range"), ("desk-v1", "bin")])
def test_the_claims_figure_names_what_c1_is_asked_of(scale: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[tuple[Figure, str]] = []
    monkeypatch.setattr(figure6_claims, "save_figure", lambda figure, name, out, caption: saved.append((figure, caption)) or [])
    figure6_claims.draw(tmp_path, tmp_path / "none", scale)
    ((figure, caption),) = saved
    plt.close("all")
    assert figure.axes[1].get_xlabel() == f"SNR²(middle)/2 − SNR²({end})" and f"less that of the {end}, from" in " ".join(caption.split())


@pytest.mark.parametrize("module", DRAWN_FROM_RECORDS, ids=lambda module: module.NAME)
def test_without_records_no_point_is_drawn(module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(module, tmp_path / "none", monkeypatch)
    for axis in figure.axes:
        assert not axis.containers and all("not run" in text.get_text() for text in axis.texts)


def test_accuracy_against_compute(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axis = drawn(figure4_compute, filled, monkeypatch).axes[0]
    points = {container.get_label(): container.lines[0].get_xydata() for container in axis.containers}
    paced = row_named(Results(filled), DESK, "one-pass", "paced")
    np.testing.assert_allclose(points["PACED"], [[3.0, np.mean(primaries(paced, DESK))]])
    assert set(points) == {"no weighting", "PACED"}


def test_histogram_shares_sum_to_one(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = drawn(figure5_histogram, filled, monkeypatch).axes
    for axis in axes:
        assert len(axis.containers) == 3
        for bars in axis.containers:
            assert sum(bar.get_height() for bar in bars) == pytest.approx(1) and len(bars) == 5


def test_the_forest_holds_every_hypothesis_and_the_measured_ones_as_points(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = drawn(figure6_claims, filled, monkeypatch).axes
    found = [finding for outcome in outcomes(Results(filled), DESK) for finding in outcome.findings]
    names = [label.get_text() for axis in (left, right) for label in axis.get_yticklabels()]
    assert sorted(names) == sorted(finding.hypothesis for finding in found)
    measured = [finding for finding in found if finding.value is not None]
    points = sorted(float(container.lines[0].get_xdata()[0]) for axis in (left, right) for container in axis.containers)
    assert points == pytest.approx(sorted(finding.value for finding in measured if finding.value is not None)) and len(points) == 2


def test_the_prompts_are_the_real_ones() -> None:
    from paced_exp.data.prompts import prompt_ids
    from paced_exp.models.loading import load_model

    problem = figure3_prompts.example()
    tokenizer = load_model("lab:student", device="cpu", dtype="float32").tokenizer
    for kind, _, _ in figure3_prompts.PANELS:
        text = figure3_prompts.rendered(problem, kind)
        assert user_message(problem, kind) in text
        assert tokenizer.decode(prompt_ids(tokenizer, problem, kind)) == text


def test_methods_named_beside_the_axis_keep_their_order_and_their_distance() -> None:
    moved = spread([1.0, 1.1, 5.0, 1.05], 0.5)
    order = np.argsort([1.0, 1.1, 5.0, 1.05])
    assert list(np.argsort(moved)) == list(order) and min(np.diff(np.sort(moved))) >= 0.5 - 1e-9
    assert np.mean([moved[0], moved[1], moved[3]]) == pytest.approx(1.05) and moved[2] == pytest.approx(5.0)


def test_the_regime_s_points_are_the_differences_of_the_records(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axis = drawn(figure7_regime, filled, monkeypatch).axes[0]
    (points,) = [container.lines[0].get_xydata() for container in axis.containers]
    paced, uniform = (np.mean(primaries(row_named(Results(filled), DESK, "one-pass", row), DESK)) for row in ("paced", "uniform"))
    assert points[0][1] == pytest.approx(paced - uniform) and [text.get_text() for text in axis.texts] == ["PACED"]
    assert [label.get_text() for label in axis.get_xticklabels()][1:4] == [
        "one pass\n200 updates",
        "1.6 passes\n100 updates",
        "3.1 passes\n200 updates",
    ]


@pytest.mark.parametrize(("low", "high", "says"), [(0.1, 1, "gains more"), (-1, -0.1, "gains less"), (-1, 1, "No difference")])
def test_the_headline_says_what_the_interval_does(low: float, high: float, says: str) -> None:
    assert says in figure7_regime.headline(Finding("R.regime", "", "points", (low + high) / 2, low, high))


@pytest.mark.parametrize(
    ("value", "plain", "says"),
    [
        (2.0, 8.0, ("PACED beats unweighted training on as much compute", "by 2.0 points of accuracy")),
        (-2.0, 6.0, ("unweighted training on 75 % of PACED's compute", "beats PACED by 2.0 points of accuracy")),
        (0.1, 8.0, ("PACED cannot be told from unweighted training", "on as much compute")),
    ],
)
def test_the_compute_headline_says_who_is_ahead(value: float, plain: float, says: tuple[str, ...]) -> None:
    estimate = Estimate(value, 0.2, 30.0)
    text = figure4_compute.headline(AtCompute(estimate, estimate, 8.0, plain))
    assert all(part in text for part in says) and text.count("\n") == 1


@pytest.mark.parametrize(
    ("never", "always", "says"),
    [
        (-2.0, 3.0, ("2.0 points [1.6, 2.4] fewer problems are never", "3.0 points [2.6, 3.4] more problems are always")),
        (2.0, -3.0, ("more problems are never", "fewer problems are always")),
        (0.1, 0.2, ("no clear difference in problems never", "no clear difference in problems always")),
    ],
)
def test_the_histogram_s_headline_says_what_its_intervals_do(never: float, always: float, says: tuple[str, ...]) -> None:
    text = figure5_histogram.headline((Estimate(never, 0.2, 100.0), Estimate(always, 0.2, 100.0)))
    assert all(part in text for part in says)


def test_the_histogram_s_headline_is_of_the_bars_drawn(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paced, uniform = (row_named(Results(filled), DESK, "one-pass", row) for row in ("paced", "uniform"))
    found = figure5_histogram.share_differences(paced, uniform, DESK)
    assert found is not None
    axes = drawn(figure5_histogram, filled, monkeypatch).axes
    for estimate, bar in zip(found, (0, -1), strict=True):
        heights = [[container[bar].get_height() for container in axis.containers] for axis in axes]  # before, unweighted, PACED
        assert estimate.value == pytest.approx(100 * np.mean([paced - plain for _, plain, paced in heights]))


@pytest.mark.parametrize(
    ("value", "p_equivalent", "missing", "says"),
    [
        (2.0, None, "", "Of 2 measured hypotheses, 2 hold here; 1 more was not run"),
        (-2.0, None, "", "Of 2 measured hypotheses, 2 go the other way; 1 more was not run"),
        (0.1, 0.01, "", "Of 2 measured hypotheses, 2 make no difference above 1 point; 1 more was not run"),
        (0.1, 0.5, "", "Of 2 measured hypotheses, 2 are not decided; 1 more was not run"),
    ],
)
def test_the_claims_headline_counts_the_corrected_verdicts(value: float, p_equivalent: float | None, missing: str, says: str) -> None:
    clear = 0.001 if abs(value) > 1 else 0.8
    numbers = {"p": clear, "holm": clear, "towards": value > 0, "p_equivalent": p_equivalent, "holm_equivalent": p_equivalent}
    found = [Finding("C", "", "points", value, value - 1, value + 1, missing=missing, **numbers)] * 2
    text = figure6_claims.headline([*found, Finding("D", "", "points")])
    assert " ".join(text.split()) == says


def test_the_claims_headline_counts_every_kind_in_two_lines() -> None:
    held = Finding("C", "", "points", 2, 1, 3, p=0.001, holm=0.001)
    against = Finding("C", "", "points", -2, -3, -1, p=0.001, holm=0.001, towards=False)
    assert figure6_claims.headline([held, against, against]) == "Of 3 measured hypotheses, 1 holds here and 2 go the other way"
    assert figure6_claims.headline([Finding("D", "", "points")]) == "None of the 1 hypotheses has been measured"


def ends(never: tuple[float, float], always: tuple[float, float]) -> dict[str, list[dict[str, float]]]:
    return {"bins": [{"low": low, "high": high} for low, high in (never, (0.5, 1.0), always)]}


@pytest.mark.parametrize(
    ("never", "always", "says"),
    [
        ((-0.1, 0.1), (0.1, 0.2), ("never solves has no clear effect", "but one on those that it always solves raises accuracy on others")),
        ((0.1, 0.2), (0.1, 0.2), ("never solves raises accuracy", "and one on those that it always solves raises accuracy on others")),
        (
            (-0.2, -0.1),
            (-0.1, 0.1),
            ("never solves lowers accuracy", "but one on those that it always solves has no clear effect on others"),
        ),
    ],
)
def test_the_utility_s_headline_says_what_the_intervals_at_the_ends_do(never, always, says: tuple[str, str]) -> None:
    text = figure8_utility.headline({"accuracy": {"metrics": {"sgd": ends(never, always), "adam": ends(never, always)}}})
    assert all(part in text for part in says)


def test_a_step_has_no_clear_effect_where_the_optimisers_disagree() -> None:
    metrics = {"sgd": ends((0.1, 0.2), (0.1, 0.2)), "adam": ends((-0.1, 0.2), (0.1, 0.2))}
    assert figure8_utility.effects({"accuracy": {"metrics": metrics}}) == {"never": 0, "always": 1}


@pytest.mark.parametrize(
    ("never", "always", "says"),
    [
        (1.0, 1.0, "neither end"),
        (0.1, 1.0, "k = 0 lies below the middle"),
        (1.0, 0.1, "k = K lies below the middle"),
        (0.1, 0.1, "both ends"),
    ],
)
def test_the_agreement_s_title_says_where_the_snr_falls(never: float, always: float, says: str) -> None:
    bins = [{"snr_squared_low": 0.0, "snr_squared_high": high} for high in (never, always)]
    judged = {"difference": 0.0, "middle_low": 0.5, "middle_high": 2.0}
    assert says in figure8_utility.agreement({"bins": bins, "verdict": {"low": judged, "high": judged}})


@pytest.mark.parametrize(
    ("never", "always", "says"),
    [
        (
            (-0.2, 0.2),
            (0.1, 0.6),
            ("never solved share no clear direction", "but gradients of problems always solved point the same way as"),
        ),
        ((-0.4, -0.2), (-0.4, -0.2), ("never solved point against", "and gradients of problems always solved point against")),
    ],
)
def test_the_bins_headline_says_what_the_cosines_intervals_do(never, always, says: tuple[str, str]) -> None:
    low, high = ({"cosine": sum(pair) / 2, "low": pair[0], "high": pair[1]} for pair in (never, always))
    gram = {"groups": {"low_middle": low, "middle_high": high}}
    assert all(part in figure9_bins.headline(gram) for part in says)
    assert f"{low['cosine']:.2f}".replace("-", "−") in figure9_bins.cosines(gram)


@pytest.mark.parametrize("missing", [None, {"cosine": None, "low": None, "high": None}, {"cosine": 0.1, "low": None, "high": 0.2}])
@pytest.mark.parametrize("pair", ["low_middle", "middle_high"])
def test_without_a_cosine_or_its_interval_the_bins_headline_asks(missing, pair: str) -> None:
    gram = {"groups": {name: {"cosine": 0.1, "low": 0.0, "high": 0.2} for name in ("low_middle", "middle_high")} | {pair: missing}}
    assert figure9_bins.headline(gram).startswith("Whether")
    assert figure9_bins.cosines(gram) == ""


@pytest.mark.parametrize("uniform", [{}, {"uniform": {"value": 0.5, "low": None, "high": None}}])
def test_without_an_interval_of_progress_the_right_panel_says_nothing(uniform) -> None:
    assert figure9_bins.progress({"efficiency": {"paced": {"value": 0.5, "low": 0.4, "high": 0.6}} | uniform}) == ""


def test_the_progress_title_gives_both_weights_numbers() -> None:
    weights = {"paced": {"value": 0.5, "low": 0.4, "high": 0.6}, "uniform": {"value": 1.0, "low": 0.9, "high": 1.0}}
    text = figure9_bins.progress({"efficiency": weights})
    assert "PACED: 50 % [40, 60]" in text and "no weighting: 100 % [90, 100]" in text
