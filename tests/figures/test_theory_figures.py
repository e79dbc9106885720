"""The theory figures are drawn, the same bytes each time, told apart in grey, and their captions say what the package computes."""

import importlib
import math
import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from figures import study_stages, theory_efficiency, theory_representation, theory_robustness, theory_stages, theory_variance_ratio
from figures.tolerance import TOLERANCE, picture_distance
from paced_exp.core.json_files import checksum, read_json
from paced_theory.collapse import SoftmaxStudent
from paced_theory.convergence import breakeven_signal_exponent, variance_ratio
from paced_theory.estimation import EfficiencyRow, efficiency_table
from paced_theory.representation import ModelComparison, compare_models, fit_leading_order_linear
from paced_theory.robustness import beta_misspecification_loss, saddle_point, worst_case_efficiency
from paced_theory.stages import SCHEDULES, population_outcomes, run_schedule

ROOT = Path(__file__).parents[2]
NAMES = ("collapse", "efficiency", "representation", "robustness", "stages", "variance_ratio")


def module(name):
    return importlib.import_module(f"figures.theory_{name}")


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw a figure by name and return the matplotlib figure that would have been saved."""

    def draw(name) -> Figure:
        saved = []
        monkeypatch.setattr(module(name), "save_figure", lambda figure, *args, **kwargs: saved.append(figure) or [])
        module(name).draw(tmp_path)
        return saved[0]

    yield draw
    plt.close("all")


@pytest.mark.parametrize("name", NAMES)
def test_figure_is_written_as_pdf_png_and_caption_with_the_same_bytes_twice(name, tmp_path):
    first, second = (module(name).draw(tmp_path / run) for run in "ab")
    assert [path.name for path in first] == [f"theory_{name}.{suffix}" for suffix in ("pdf", "png", "svg", "txt")]
    for left, right in zip(first, second, strict=True):
        assert left.read_bytes() == right.read_bytes()
    assert first[3].read_text() == " ".join(module(name).CAPTION.split()) + "\n"
    committed = ROOT / "figures" / "out" / first[1].name
    assert picture_distance(first[1], committed) <= TOLERANCE, "figures/out is out of date: run make figures"


def test_the_tolerance_of_pictures_passes_rounding_and_not_a_curve_that_moved(tmp_path):
    x = np.linspace(0, 1, 200)
    for name, values in (("a", x**2), ("b", x**2 * (1 + 1e-13)), ("moved", x**2 + 0.01), ("wide", x**2)):
        figure, axis = plt.subplots(figsize=(7, 2.6) if name != "wide" else (8, 2.6))
        axis.plot(x, values)
        axis.set(ylim=(0, 1))
        figure.savefig(tmp_path / f"{name}.png", dpi=100)
        plt.close(figure)
    assert picture_distance(tmp_path / "a.png", tmp_path / "a.png") == 0
    assert picture_distance(tmp_path / "a.png", tmp_path / "b.png") <= TOLERANCE
    assert 4 * TOLERANCE < picture_distance(tmp_path / "a.png", tmp_path / "moved.png") < math.inf
    assert picture_distance(tmp_path / "a.png", tmp_path / "wide.png") == math.inf


@pytest.mark.parametrize("name", NAMES)
def test_curves_differ_by_more_than_colour_and_axes_are_labelled(name, drawn):
    """In grey, two labelled curves of one panel must still differ in line or marker."""
    for axis in drawn(name).axes:
        assert axis.get_xlabel() or axis.get_title(loc="left")
        curves = [(str(line.get_linestyle()), line.get_marker()) for line in axis.get_lines() if not line.get_label().startswith("_")]
        for left, right in combinations(curves, 2):
            assert left != right or name == "collapse"
    if name == "collapse":  # panel (c) draws both models in two line styles; position on the axes tells the models apart
        exponents = drawn(name).axes[2].get_lines()
        ends = sorted(float(line.get_ydata()[0]) for line in exponents)
        assert all(high / low > 2 for low, high in pairwise(ends))


def test_collapse_points_lie_within_their_intervals_of_the_closed_form(drawn):
    figure = drawn("collapse")
    for axis in figure.axes[:2]:
        closed_form = axis.get_lines()[0]
        (container,) = axis.containers
        bars = next(part for part in container.lines[2] if isinstance(part, LineCollection)).get_segments()
        inside = 0
        for (x, low), (_, high) in bars:
            expected = float(np.interp(x, closed_form.get_xdata(), closed_form.get_ydata()))
            inside += low - 1e-9 <= expected <= high + 1e-9
        assert len(bars) == 11 and inside >= 9
    labels = [text.get_text() for text in figure.axes[2].texts]
    slopes = [float(label.rsplit(" ", 1)[1]) for label in labels]
    assert slopes == pytest.approx([1, 2, 1, 2], abs=0.03)


def test_captions_state_what_the_package_computes():
    assert f"p = {SoftmaxStudent(teacher_error=0.1).matched_pass_rate:.2f}" in module("collapse").CAPTION
    assert f"{float(worst_case_efficiency(0.3)):.4f}" in theory_robustness.CAPTION
    nu = (theory_robustness.LEVELS * (1 - theory_robustness.LEVELS)) ** 2
    assert np.abs(saddle_point(nu, theory_robustness.DELTA).log_ratio).max() < 0.01
    assert float(variance_ratio(0.25)) == pytest.approx(27 / 32) and float(variance_ratio(0.5)) == pytest.approx(6 / 5)
    assert f"{breakeven_signal_exponent():.4f}" in module("variance_ratio").CAPTION
    rows = {row.K: row for row in efficiency_table((4, 8))}
    assert rows[4].posterior > rows[8].plugin
    for row in efficiency_table(theory_efficiency.ROLLOUTS[1:], theory_efficiency.HARD):  # K = 1 has no plug-in
        assert row.plugin < row.posterior < row.best


def test_representation_caption_matches_its_data(drawn):
    figure = drawn("representation")
    (container,) = figure.axes[0].containers
    estimates = container.lines[0].get_ydata()
    error = np.full(
        estimates.size, theory_representation.RELATIVE_ERROR * theory_representation.STUDENT.snr_squared(theory_representation.BINS).max()
    )
    fit = fit_leading_order_linear(theory_representation.BINS, estimates, error)
    assert fit.a_low > 1  # "that of a excludes 1"
    assert theory_representation.STUDENT.boundary_exponents() == (1, 2)
    widths = sorted(bar.get_width() for bar in figure.axes[2].patches)
    assert widths == pytest.approx([row.delta_aic for row in compare_models(theory_representation.BINS, estimates, error)])


def test_stages_example_ends_on_the_second_best_mode():
    example = theory_stages.EXAMPLE
    starts = example.draw_starts(24, np.random.default_rng(0))
    assert not example.on_best_mode(run_schedule(example, starts, "forward-reverse")).any()
    assert 0 < example.on_best_mode(run_schedule(example, starts, "reverse")).mean() < 1


def test_the_command_prints_the_paths_it_wrote(tmp_path):
    command = [sys.executable, "-m", "figures.theory_efficiency", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2], check=True)
    assert done.stdout.split() == [str(tmp_path / f"theory_efficiency.{suffix}") for suffix in ("pdf", "png", "svg", "txt")]
    assert all((tmp_path / f"theory_efficiency.{suffix}").stat().st_size > 0 for suffix in ("pdf", "png", "svg", "txt"))


@pytest.mark.parametrize("family", study_stages.FAMILIES)
def test_the_stages_record_is_what_the_study_computes(family):
    """The first teachers computed again, by the study and by the package's own summary; the record is complete."""
    record = read_json(study_stages.RECORD)
    assert (record["seed"], record["starts"], record["teachers"]) == (study_stages.SEED, study_stages.STARTS, study_stages.TEACHERS)
    recorded, again = record["outcomes"][family], study_stages.outcomes_of(family, 2)
    generator = np.random.default_rng(study_stages.SEED)
    summary = population_outcomes(study_stages.FAMILIES[family], generator, teachers=2, starts=study_stages.STARTS)
    for schedule, row in zip(SCHEDULES, summary, strict=True):
        for field, mean in (("mass", row.mean_mass.value), ("stuck", row.stuck.value)):
            values = recorded[schedule][field]
            assert len(values) == study_stages.TEACHERS[family] and 0 <= min(values) <= max(values) <= 1
            assert again[schedule][field] == pytest.approx(values[:2], abs=1e-3)
            assert np.mean(values[:2]) == pytest.approx(mean, abs=1e-3)


def test_the_study_writes_its_record(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(study_stages, "TEACHERS", {"mixture": 1})
    monkeypatch.setattr(study_stages, "STARTS", 2)
    study_stages.main(["--out", str(tmp_path / "new" / "stages.json")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "new" / "stages.json")
    written = read_json(tmp_path / "new" / "stages.json")
    assert written.pop("checksum") == checksum(study_stages.study())
    assert written == study_stages.study() and list(written["outcomes"]["mixture"]) == list(SCHEDULES)


@pytest.mark.parametrize(("posterior", "plugin", "says"), [(0.9, 0.8, "beats"), (0.7, 0.8, "does not beat"), (0.8, 0.8, "does not beat")])
def test_the_efficiency_s_headline_follows_the_numbers(posterior, plugin, says):
    rows = {K: EfficiencyRow(*[0.0] * len(EfficiencyRow._fields))._replace(posterior=posterior, plugin=plugin) for K in (4, 8)}
    text = theory_efficiency.headline(rows)
    assert f" {says} " in text and f"{posterior:.3f} and {plugin:.3f}" in text


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ((0.5, 1.5), (1.5, 2.5), "intervals of a and b hold them"),
        ((1.2, 1.5), (1.5, 2.5), "interval of a does not hold it"),
        ((0.5, 1.5), (2.1, 2.5), "interval of b does not hold it"),
        ((1.2, 1.5), (2.1, 2.5), "intervals of a and b do not hold them"),
    ],
)
def test_the_fit_s_headline_says_which_intervals_hold_the_truth(a, b, says):
    fit = SimpleNamespace(a_low=a[0], a_high=a[1], b_low=b[0], b_high=b[1])
    text = theory_representation.headline(fit, (1, 2))
    assert text.endswith(says) and ("finds the true" in text) == ("do" not in says)


def test_the_rivals_title_counts_the_forms_that_the_data_tell_from_the_best():
    rows = [ModelComparison("", {}, 0.0, 0.0, 0.0, delta) for delta in (0.0, 1.9, 2.1, 30.0)]
    assert "2 of 4 forms" in theory_representation.rivals(rows)


def test_the_robustness_title_bounds_every_wrong_pair_of_exponents():
    shown = int(theory_robustness.wrong_exponents().split()[-2]) / 100
    inside = np.random.default_rng(0).uniform(-theory_robustness.OFF, theory_robustness.OFF, (2, 1000))
    assert shown - 0.02 < beta_misspecification_loss(*inside).max() < shown + 0.005


def test_the_variance_ratio_s_headline_is_on_the_right_side_of_the_break_even():
    at = breakeven_signal_exponent()
    assert float(variance_ratio(at - 0.1)) < 1 < float(variance_ratio(at + 0.1))
    text = theory_variance_ratio.headline()
    assert "lower the gradient noise" in text and f"below {at:.2f}; above it they raise it" in text


@pytest.mark.parametrize(
    ("forward", "reverse", "says"),
    [
        ((1, 1), (0, 0), ("more mass", "but not clearly more or less than reverse")),
        ((1, 0), (1, 1), ("not clearly more or less mass", "but more than reverse")),
        ((-1, -1), (-1, -1), ("less mass", "and less than reverse")),
        ((1, 1), (1, -1), ("more mass", "but not clearly more or less than reverse")),
    ],
)
def test_the_stages_headline_says_what_the_paired_intervals_do_in_both_families(forward, reverse, says):
    noise = np.array([-0.01, 0.01, -0.01, 0.01])
    outcomes = {
        family: {
            "forward-reverse": {"mass": [0.5] * 4},
            "forward": {"mass": list(0.5 - 0.1 * up + noise)},
            "reverse": {"mass": list(0.5 - 0.1 * over + noise)},
        }
        for family, up, over in zip(study_stages.FAMILIES, forward, reverse, strict=True)
    }
    text = theory_stages.headline(outcomes)
    assert all(part in text for part in says)
