"""Figures from records: drawn from what the records say, the same bytes each time, and honest where nothing was run."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from figures import figure1_overview, figure3_prompts, figure4_compute, figure5_histogram, figure6_claims, figure7_regime
from paced_exp.data.prompts import user_message
from paced_exp.plotting.labels import spread
from paced_exp.reproduce.findings import Finding
from paced_exp.reproduce.measures import primaries, row_named
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK
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
