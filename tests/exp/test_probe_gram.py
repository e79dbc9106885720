"""The record's Gram matrix of bins: what a real run stores, the fitted curve, efficiencies of every method, the figure, the table's lines."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

from paced_exp.data.sources import load_problems
from paced_exp.gradients.engine import GradientSums
from paced_exp.losses.divergences import divergence
from paced_exp.losses.problem_loss import ProblemLoss
from paced_exp.models.loading import load_model
from paced_exp.probe.curve import BinData
from paced_exp.probe.gram import GROUPS, gram_lines, gram_record
from paced_exp.probe.gram_figure import gram_figure, plot_gram
from paced_exp.probe.measurement import gradient_batches, load_sums
from paced_exp.rollouts.references import read_references
from paced_exp.rollouts.store import ChunkStore
from paced_exp.training.teachers import ModelTeacher
from paced_exp.weighting import METHODS, Beta, MaxRL
from tests.support.probe_setup import record_of

RATES = np.arange(11) / 10
TURNS = np.pi * 0.9 * (1 - RATES) ** 2  # the lowest bin against the highest


def bin_of(gradients: np.ndarray, rate: float, offered: int = 100) -> BinData:
    sums = GradientSums((gradients**2).sum(1), gradients, float((gradients.sum(0) ** 2).sum()))
    return BinData(pass_rate=float(rate), posterior_pass_rate=float((10 * rate + 0.5) / 11), sums=sums, offered=offered)


def turning(n: int = 400, rates: np.ndarray = RATES, seed: int = 0) -> list[BinData]:
    """Bins whose mean gradients turn with the pass rate, and whose norms fall; 512 numbers each, as if sketched."""
    rng, data = np.random.default_rng(seed), []
    for rate in rates:
        gradients = rng.normal(size=(n, 512)) / np.sqrt(512)
        turn = np.pi * 0.9 * (1 - rate) ** 2
        gradients[:, :2] += 0.5 * np.array([np.cos(turn), np.sin(turn)])
        data.append(bin_of(np.exp(-rate) * gradients, rate, offered=int(400 - 300 * rate)))
    return data


@pytest.fixture(scope="module")
def gram() -> dict[str, Any]:
    return gram_record(turning(), K=10)


# ---- a real run


@pytest.mark.usefixtures("hash_grader")
def test_a_run_stores_the_inner_products_of_its_gradients(whole: Path, models: Path) -> None:
    """Against autograd on the whole batch of a bin: its mean gradient, then plain inner products."""
    record = record_of(whole)
    gram, rows = record["gram"], record["bins"]
    assert gram["pass_rate"] == [row["pass_rate"] for row in rows] and gram["problem"] == ""
    assert gram["second_moment"] == pytest.approx([row["mean_squared_norm"] for row in rows])
    offered = np.array([row["offered"] for row in rows])
    assert gram["share"] == pytest.approx(offered / offered.sum())
    signal = [row["snr_squared"] * row["mean_squared_norm"] / (1 + row["snr_squared"]) for row in rows]
    assert np.diag(gram["inner"]) == pytest.approx(signal, rel=1e-6)

    student, teacher = (load_model(str(models / name), device="cpu", dtype="float64") for name in ("student", "teacher"))
    passes = ChunkStore(whole, "rollouts").rows().groupby("problem_id")["correct"].sum()
    references = read_references(ChunkStore(whole, "references"))
    loss, targets = ProblemLoss(divergence("forward_kl"), reduction="mean"), ModelTeacher(teacher.model)
    config: Any = SimpleNamespace(teacher_prompt="privileged", batch_tokens=10**6)
    means = []
    for k in range(5):
        pairs = [(p, references[p.id]) for p in load_problems(str(whole / "problems.parquet")) if passes[p.id] == k]
        (batch,) = gradient_batches(config, pairs, student, teacher)
        total = loss(student.model, batch, targets.targets(batch)).mean()
        means.append(torch.cat([g.flatten() for g in torch.autograd.grad(total, list(student.model.parameters()))]))
    exact = (torch.stack(means) @ torch.stack(means).T).numpy()
    lengths = np.diag(exact)
    off = ~np.eye(5, dtype=bool)
    error = np.sqrt((np.outer(lengths, lengths) + exact**2) / 512)  # of a sketch of 512 numbers
    assert (np.abs(np.array(gram["inner"]) - exact)[off] < 4 * error[off]).all()
    assert np.abs(exact[off]).max() > 4 * error[off].min(), "the bound says something"


def test_it_is_made_from_the_saved_sums(whole: Path) -> None:
    record = record_of(whole)
    data = [
        BinData(row["pass_rate"], row["posterior_pass_rate"], load_sums(whole / "gradients" / f"bin-{b:03d}.npz"), row["offered"])
        for b, row in enumerate(record["bins"])
    ]
    assert gram_record(data, K=record["config"]["K"]) == record["gram"]


# ---- what it holds


def test_cosines_follow_the_directions(gram: dict[str, Any]) -> None:
    truth = np.cos(TURNS[:, None] - TURNS)
    cosine, low, high = (np.array(gram[name]) for name in ("cosine", "cosine_low", "cosine_high"))
    assert np.abs(cosine - truth).max() < 0.15
    assert ((low <= truth + 1e-9) & (truth - 1e-9 <= high)).mean() > 0.9 and (np.abs(cosine) <= 1).all()
    middle = np.array([np.cos(TURNS), np.sin(TURNS)]).T * np.exp(-RATES)[:, None]
    middle = middle[3:8].mean(0) / np.linalg.norm(middle[3:8].mean(0))
    ends = {"low_middle": middle @ [np.cos(TURNS[0]), np.sin(TURNS[0])], "middle_high": middle[0], "low_high": np.cos(TURNS[0])}
    for name, wanted in ends.items():
        found = gram["groups"][name]
        assert found["low"] <= found["cosine"] <= found["high"] and found["cosine"] == pytest.approx(wanted, abs=0.1)


def test_the_fitted_curve_is_alignment_over_second_moment_clipped_at_zero(gram: dict[str, Any]) -> None:
    inner, share, moment = (np.array(gram[name]) for name in ("inner", "share", "second_moment"))
    alignment = inner @ share
    assert gram["alignment"] == pytest.approx(alignment) and alignment.min() < 0 < alignment.max()
    weight = np.maximum(alignment, 0) / moment
    assert gram["fitted"] == pytest.approx(weight / weight.mean()) and np.mean(gram["fitted"]) == pytest.approx(1)
    pairs = [[float(number) for number in pair.split(":")] for pair in gram["curve"].split(",")]
    assert [p for p, _ in pairs] == pytest.approx(RATES) and [w for _, w in pairs] == pytest.approx(gram["fitted"], rel=1e-5)
    parts = share * alignment**2 / moment
    assert gram["usable"] == pytest.approx(parts[alignment > 0].sum() / parts.sum()) and gram["usable"] < 1
    assert all(low < value < high for low, value, high in zip(*(gram[f"alignment{end}"] for end in ("_low", "", "_high")), strict=True))


def test_every_method_has_its_efficiency(gram: dict[str, Any]) -> None:
    """By the definition, on the true means: bins this full leave little noise."""
    assert list(gram["efficiency"]) == list(gram["efficiency_own"]) == [name for name in METHODS if name != "curve"]
    means = np.exp(-RATES)[:, None] * np.array([np.cos(TURNS), np.sin(TURNS)]).T * 0.5
    share = np.array(gram["share"])
    moment = np.exp(-2 * RATES) * (1 + 0.25)
    for field, alignment in (("efficiency", means @ (share @ means)), ("efficiency_own", (means**2).sum(1))):
        for name, weight in (("uniform", np.ones(11)), ("paced", Beta(1, 1)(RATES)), ("maxrl", MaxRL(10)(RATES))):
            progress = (share * weight) @ alignment / np.sqrt((share * weight**2) @ moment)
            best = np.sqrt((share * alignment**2 / moment).sum())
            found = gram[field][name]
            assert found["low"] <= found["value"] <= found["high"]
            assert found["value"] == pytest.approx(max(0, progress / best) ** 2, abs=0.08), (field, name)


def test_the_order_of_maxrl_is_the_number_of_rollouts() -> None:
    ten, two = (gram_record(turning(60), K=K)["efficiency"] for K in (10, 2))
    assert ten["maxrl"] != two["maxrl"] and ten["paced"] == two["paced"]


# ---- what cannot be had


def test_bins_without_an_estimate_stay_out_and_the_record_fits_json() -> None:
    data = turning(50)
    data[2] = bin_of(np.full((50, 512), np.nan), 0.2)
    data[4] = bin_of(np.ones((2, 512)), 0.4)
    data[7] = bin_of(np.zeros((50, 512)), 0.7)
    record = gram_record(data, K=10)
    assert record["pass_rate"] == pytest.approx([0, 0.1, 0.3, 0.5, 0.6, 0.8, 0.9, 1]) and sum(record["share"]) == pytest.approx(1)
    assert np.shape(record["cosine"]) == (8, 8) and json.loads(json.dumps(record, allow_nan=False)) == record


def test_no_bin_at_all_says_so() -> None:
    for data in ([], [bin_of(np.ones((2, 512)), 0.5)]):
        record = gram_record(data, K=10)
        assert record["pass_rate"] == [] and record["problem"].startswith("no Gram matrix: no bin has 3 problems")
        assert gram_lines({"gram": record}) == [record["problem"]]
        assert plot_gram({"gram": record}, "nowhere") == []


def test_end_bins_alone_have_no_middle_and_weights_of_zero_no_efficiency() -> None:
    record = gram_record(turning(50, rates=np.array([0.0, 1.0])), K=10)
    assert record["groups"]["low_middle"] is None and record["groups"]["middle_high"] is None
    assert record["groups"]["low_high"]["cosine"] == pytest.approx(np.cos(TURNS[0]), abs=0.2)
    assert record["efficiency"]["paced"] == {"value": None, "low": None, "high": None}
    lines = gram_lines({"gram": record})
    assert "lowest bin with the middle no such bins" in lines[0] and "paced none" in lines[1] and len(lines) == 2


def test_gradients_that_cancel_have_no_fitted_weight() -> None:
    gradients = np.random.default_rng(0).normal(size=(40, 512))
    record = gram_record([bin_of(gradients - gradients.mean(0), 0.5)], K=10)  # the unbiased squared length is below zero
    assert record["fitted"] is None and record["curve"] is None and record["usable"] is None and record["alignment"][0] < 0


# ---- words and pictures


def test_the_tables_lines_hold_the_records_numbers(gram: dict[str, Any]) -> None:
    cosines, kept = gram_lines({"gram": gram})
    for pair, name in GROUPS.items():
        found = gram["groups"][pair]
        assert f"{name} {found['cosine']:.2f} [{found['low']:.2f}, {found['high']:.2f}]" in cosines
    for name, found in gram["efficiency"].items():
        assert f"{name} {found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]" in kept
    assert gram_lines({}) == []


def shown(record: dict[str, Any]) -> dict[str, Any]:
    return {"config": {"student": "lab:student", "teacher": "lab:teacher", "K": 10}, "gram": record}


def test_the_heat_map_shows_every_pair_once_as_a_square_and_once_as_a_number(gram: dict[str, Any]) -> None:
    axes = gram_figure(shown(gram)).axes[0]
    squares = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_linewidth() > 0]
    assert len(squares) == len(axes.texts) == 55
    by_place = {tuple(int(x) for x in text.get_position()): text for text in axes.texts}
    for square in squares:
        side = square.get_width()
        j, i = round(square.get_x() + side / 2), round(square.get_y() + side / 2)
        cosine, low, high = (gram[name][i][j] for name in ("cosine", "cosine_low", "cosine_high"))
        assert j < i and side == pytest.approx(max(0.25, 1 - (high - low) / 2))
        red, _, blue, _ = square.get_facecolor()
        assert (red > blue) == (cosine > 0) or abs(cosine) < 0.02
        text = by_place[i, j]
        assert float(text.get_text().replace("−", "-")) == pytest.approx(cosine, abs=0.0051)
        assert (text.get_weight() == "bold") == (low > 0 or high < 0)


def test_a_pair_without_a_cosine_is_a_question_mark(gram: dict[str, Any]) -> None:
    cosine = [list(row) for row in gram["cosine"]]
    cosine[3][1] = cosine[1][3] = None
    axes = gram_figure(shown(gram | {"cosine": cosine, "fitted": None})).axes[0]
    assert [text.get_position() for text in axes.texts if text.get_text() == "?"] == [(3, 1)]


def test_equal_records_give_equal_files_and_old_ones_none(gram: dict[str, Any], tmp_path: Path) -> None:
    first, second = (plot_gram(shown(gram), tmp_path / name) for name in "ab")
    assert [path.name for path in first] == [f"gram.{suffix}" for suffix in ("pdf", "png", "svg", "txt")]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(first, second, strict=True))
    assert "K = 10 rollouts (lab:student distilled from lab:teacher)" in first[3].read_text()
    stepped = {"config": shown(gram)["config"], "steps": [{"step": step, "gram": gram} for step in (1, 20)]}
    assert "before updates 1, 20" in plot_gram(stepped, tmp_path / "c")[3].read_text()
    assert plot_gram({"config": {}, "bins": []}, tmp_path / "d") == [] and not (tmp_path / "d").exists()
