"""Concise self-distillation by difficulty: fifths by hand, the delta method against a bootstrap, words by the interval, the figure, and the told row."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from figures import figure12_concise
from paced_exp.core.json_files import read_checked
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.reproduce.cells import Cell, base_cell, base_of, cells_of, row_cells
from paced_exp.reproduce.concise_findings import TABLE, by_difficulty, concise_block, easiest_against_hardest, finding
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.records import Results, write_record
from paced_exp.reproduce.scales import DESK
from paced_exp.reproduce.shared import shared_by
from paced_exp.reproduce.significance import Estimate
from paced_exp.training.config import DistillConfig
from tests.support.pages import ROOT
from tests.support.synthetic import content_of

CONCISE = BY_NAME[TABLE]
SAMPLES = 32


def write(results: Path, row: str, correct: list[int], tokens: list[float], noise: np.random.Generator | None = None) -> None:
    """Records of three seeds whose problems of every tier have these counts and mean lengths, the latter with noise where asked."""
    for cell in row_cells(DESK, CONCISE, CONCISE.row(row), 3):
        content = content_of(cell, {source: np.array(correct) for source in DESK.sources})
        for scores in content["scores"].values():
            jitter = np.zeros(len(tokens)) if noise is None else noise.normal(0, 2, len(tokens))
            scores["samples"] = SAMPLES
            scores["tokens"] = np.rint(SAMPLES * (np.array(tokens) + jitter)).astype(int).tolist()
        write_record(cell.path(results), content)


def test_cells_are_the_student_alone_told_to_be_concise_and_distilled() -> None:
    base, told, uniform, paced, twice, twenty = (row_cells(DESK, CONCISE, row, 1)[0] for row in CONCISE.rows)
    assert [cell.config.learning_rate for cell in (uniform, twice, twenty) if isinstance(cell.config, DistillConfig)] == [1e-4, 2e-4, 2e-3]
    assert isinstance(base.config, EvaluateConfig) and isinstance(told.config, EvaluateConfig)
    assert (base.config.prompt, told.config.prompt) == ("plain", "concise") and "prompt" not in base.options
    assert dataclasses.replace(told.config, prompt="plain") == base.config
    for cell, method in ((uniform, "uniform"), (paced, "paced")):
        config = cell.config
        assert isinstance(config, DistillConfig) and (config.method, config.teacher, config.teacher_prompt) == (method, "self", "concise")
        assert (config.stages, config.samples, config.evaluate_limit, config.student) == ("reverse_kl", 32, 230, base.config.model)
    assert len(cells_of(DESK, CONCISE)) == 2 + 4 * 3
    assert base_of(DESK, CONCISE, CONCISE.row("told")) == base and base_cell(DESK, "concise").name == base.name


def test_the_told_student_is_evaluated_under_its_own_prompt(tmp_path: Path) -> None:
    def shared(cell: Cell) -> Any:
        return shared_by(cell, tmp_path)["base"].config

    base, told, uniform = (row_cells(DESK, CONCISE, CONCISE.row(name), 1)[0] for name in ("base", "told", "uniform"))
    assert (shared(base).prompt, shared(told).prompt, shared(uniform).prompt) == ("plain", "concise", "plain")
    assert shared(told).out != shared(base).out == shared(uniform).out


def test_fifths_by_hand(tmp_path: Path) -> None:
    # Pass rates 0, 1/16, 1/2, 1/2, 31/32, 1: the hardest, the middle and the easiest fifth, two problems of each tier in each.
    counts, lengths = [0, 2, 16, 16, 31, 32], [40.0, 60.0, 30.0, 30.0, 20.0, 20.0]
    write(tmp_path, "base", counts, lengths)
    write(tmp_path, "told", counts, [30.0, 45.0, 15.0, 30.0, 8.0, 12.0])
    write(tmp_path, "uniform", [0, 0, 16, 20, 32, 32], [40.0, 50.0, 15.0, 30.0, 10.0, 10.0])
    results = Results(tmp_path)
    hard, middle, easy = by_difficulty(results, DESK, "uniform")
    assert [(one.low, one.high, one.problems) for one in (hard, middle, easy)] == [(0, 0.2, 6), (0.4, 0.6, 6), (0.8, 1.0, 6)]
    assert [one.saved_once for one in (hard, middle, easy)] == pytest.approx([10, 25, 50])
    assert [one.gained_once for one in (hard, middle, easy)] == pytest.approx([-100 / 32, 100 / 16, 100 / 64])
    assert hard.tokens == 50 and easy.accuracy == pytest.approx(100 * 63 / 64)
    assert all(one.saved is not None and one.saved.value == pytest.approx(one.saved_once) for one in (hard, middle, easy))
    assert [one.saved_once for one in by_difficulty(results, DESK, "told")] == pytest.approx([25, 25, 50])
    assert all(one.saved is None for one in by_difficulty(results, DESK, "told"))
    difference = easiest_against_hardest([hard, middle, easy])
    assert difference is not None and difference.value == pytest.approx(40) and finding(difference, 3, 3).verdict == "replicates"
    assert easiest_against_hardest(by_difficulty(results, DESK, "told")) is None and easiest_against_hardest([easy]) is None
    block = concise_block(results, DESK)
    assert "| [0, 0.2) | 6 | 50.0 | 3.1 | 25.0 | 0.0 | 10.0 [" in block and "| [0.8, 1] |" in block and block.count("not run") == 3


def test_the_interval_is_that_of_a_bootstrap_over_problems(tmp_path: Path) -> None:
    """Ratio of means by the delta method, against 4,000 resamples of problems, where seeds add nothing."""
    rng = np.random.default_rng(5)
    lengths = rng.uniform(20, 60, 80)
    after = lengths * rng.uniform(0.5, 0.9, 80)
    write(tmp_path, "base", [16] * 80, lengths.tolist())
    write(tmp_path, "uniform", [16] * 80, after.tolist())
    (fifth,) = by_difficulty(Results(tmp_path), DESK, "uniform")
    assert fifth.saved is not None
    # The same 80 lengths stand in each of the three tiers.
    before, short = (np.rint(SAMPLES * np.tile(values, 3)) for values in (lengths, after))
    drawn = rng.integers(0, 240, (4000, 240))
    spread = float((100 * (1 - short[drawn].mean(axis=1) / before[drawn].mean(axis=1))).std())
    assert fifth.saved.error == pytest.approx(spread, rel=0.06)


def test_words_follow_the_interval() -> None:
    assert (
        finding(Estimate(-3.0, 1.0, 50.0), 3, 3).verdict == "contradicted"
        and finding(Estimate(1.0, 1.0, 50.0), 3, 3).verdict == "not decided"
    )
    assert finding(None, 0, 3).verdict == "not decided" and finding(None, 0, 3).missing == "not run"
    early = finding(Estimate(-3.0, 1.0, 50.0), 2, 3)
    assert early.verdict == "not decided" and early.missing == "2 of 3 planned seeds"
    assert "easy problems most" in figure12_concise.headline(Estimate(3.0, 1.0, 50.0))
    assert "hard problems most" in figure12_concise.headline(Estimate(-3.0, 1.0, 50.0))
    assert "No difference" in figure12_concise.headline(Estimate(0.5, 1.0, 50.0)) and "difficulty" in figure12_concise.headline(None)


def test_the_figure_is_drawn_from_what_was_run(tmp_path: Path) -> None:
    assert "Nothing was run" in figure12_concise.draw(tmp_path / "none", tmp_path / "empty")[-1].read_text()
    rng = np.random.default_rng(7)
    counts, lengths = [0, 1, 16, 17, 31, 32], [40.0, 60.0, 30.0, 30.0, 20.0, 20.0]
    write(tmp_path, "base", counts, lengths)
    write(tmp_path, "told", counts, [0.8 * each for each in lengths])
    write(tmp_path, "uniform", counts, [0.7 * each for each in lengths], rng)
    *pictures, caption = figure12_concise.draw(tmp_path / "out", tmp_path)
    assert all(path.stat().st_size > 1000 for path in pictures) and "OPSDC: easiest fifth less hardest fifth" in caption.read_text()


def test_the_rate_is_the_one_that_saves_most_at_a_cost_of_at_most_a_point() -> None:
    tried = {}
    for path in (ROOT / "results" / "desk" / "selection-concise").glob("*.json"):
        record = read_checked(path, "selection")
        config = record["config"]
        assert (config["seed"], config["steps"], config["teacher_prompt"], config["method"]) == (90, 100, "concise", "uniform")
        tokens, gains = ([record[name][tier]["value"] for tier in DESK.tiers] for name in ("tokens_to_base", "difference_to_base"))
        tried[record["learning_rate"]] = (float(np.mean(tokens)), float(np.mean(gains)))
    assert sorted(tried) == [1e-4, 2e-4, 5e-4, 1e-3, 2e-3]
    allowed = {rate: tokens for rate, (tokens, gain) in tried.items() if gain >= -0.01}
    chosen = min(allowed, key=allowed.__getitem__) if allowed else max(tried, key=lambda rate: tried[rate][1])
    assert DESK.setups["concise"].learning_rate == chosen
