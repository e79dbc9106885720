"""The table `neighbours`: keys of other cells, cells of policy gradient from configuration to record, pass@k and the problems never solved."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from paced_exp.core import config as configs
from paced_exp.core.json_files import read_checked
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.evaluation.metrics import pass_at_k
from paced_exp.reproduce import cells, verdicts
from paced_exp.reproduce.cells import Cell, base_of, cell_of, cells_of, planned_seeds, row_cells
from paced_exp.reproduce.columns import mean_of_tiers, pass_at, unsolved
from paced_exp.reproduce.grid_tables import grid_tables
from paced_exp.reproduce.grids import BY_NAME, tables_at
from paced_exp.reproduce.measures import combined, measure_row, values_of
from paced_exp.reproduce.neighbour_findings import QUESTIONS, neighbour_block
from paced_exp.reproduce.protocols import claims_at
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.run_cell import run_cell
from paced_exp.reproduce.scales import DESK, SCALES, SMOKE, Scale
from paced_exp.reproduce.shared import shared_by
from paced_exp.reproduce.verdict_parts import finding_text
from paced_exp.reproduce.verdicts import finding_of
from paced_exp.training.config import DistillConfig
from paced_exp.training.options import ForgettingOptions
from paced_exp.training.teacher_config import TeacherConfig
from tests.support import synthetic
from tests.support.pages import ROOT
from tests.support.synthetic import write_row

TABLE = BY_NAME["neighbours"]
ADDED = {field.name for field in dataclasses.fields(ForgettingOptions)}


def desk(row: str, seed: int = 100) -> Cell:
    return cell_of(DESK, TABLE, TABLE.row(row), seed)


def test_options_that_came_later_are_in_no_key_of_a_cell_that_leaves_them_alone() -> None:
    for table in tables_at(DESK):
        for cell in cells_of(DESK, table, 1):
            assert not ADDED & cell.options.keys() or getattr(cell.config, "forgetting", "none") != "none", cell.name
    assert desk("ewc").options["forgetting"] == "ewc" and "rehearsal" not in desk("ewc").options
    # A record of before the options, and one with all of them at their defaults, are of the same cell.
    stored = desk("uniform").options
    assert not configs.differing(stored, desk("uniform").options, configs.earlier(DistillConfig))


def test_cells_are_what_their_rows_say() -> None:
    assert planned_seeds(DESK, TABLE) == 3 and planned_seeds(SMOKE, TABLE) == 1
    assert len(cells_of(DESK, TABLE)) == 1 + 3 * (len(TABLE.rows) - 1)
    grpo, ace, half = desk("grpo").config, desk("ace").config, desk("paced-half").config
    assert isinstance(grpo, TeacherConfig) and isinstance(ace, TeacherConfig) and isinstance(half, DistillConfig)
    assert (grpo.steps, grpo.batch, grpo.K, grpo.kl, grpo.seed) == (120, 16, 8, 0.001, 100) and ace.error_penalty == 1.0
    assert (half.supervise, half.method, half.regime, half.steps) == ("first:0.5", "paced", "one-pass", 200)
    for row in TABLE.rows:
        (cell, *_) = row_cells(DESK, TABLE, row, 1)
        limit = cell.config.limit if isinstance(cell.config, EvaluateConfig) else cell.config.evaluate_limit
        assert (cell.table, cell.config.samples, limit) == ("neighbours", 32, 230)
    labels = [row.label for row in TABLE.rows]
    assert len(set(labels)) == len(labels)


def test_a_row_is_compared_with_the_student_on_the_same_problems(tmp_path: Path) -> None:
    base = base_of(DESK, TABLE, TABLE.row("grpo"))
    assert base.name == "neighbours/base" and base_of(DESK, BY_NAME["one-pass"], TABLE.row("uniform")).name == "one-pass/base"
    for row in ("base", "uniform", "grpo"):
        shared = shared_by(desk(row, 0 if row == "base" else 100), tmp_path)["base"].config
        assert isinstance(shared, EvaluateConfig) and dataclasses.replace(shared, out="") == dataclasses.replace(base.config, out="")
    plain = shared_by(cell_of(DESK, BY_NAME["one-pass"], BY_NAME["one-pass"].row("uniform"), 100), tmp_path)["base"].config
    assert isinstance(plain, EvaluateConfig) and (plain.samples, plain.limit) == (4, 1834)


def test_each_half_is_compared_within_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "SAMPLES", 32)
    accuracies = {"base": 0.2, "uniform": 0.6, "paced": 0.8, "grpo": 0.3, "maxrl": 0.5}
    for row, accuracy in accuracies.items():
        write_row(tmp_path, "neighbours", row, accuracy, 3, DESK)
    results = Results(tmp_path)
    values, differences = grid_tables(results, DESK, TABLE, Reported())
    assert {row[0].text for row in values.rows if row[2].bold} == {"distillation, PACED", "MaxRL"}, "the best of each half"
    shown = {row[0].text: row[1] for row in differences.rows}
    rows = {name: measure_row(results, DESK, TABLE, TABLE.row(name)) for name in accuracies}
    for label, name, other in (
        ("distillation, PACED", "paced", "uniform"),
        ("GRPO, to Base", "grpo", "base"),
        ("MaxRL, to GRPO", "maxrl", "grpo"),
    ):
        found = combined([(1.0, rows[name]), (-1.0, rows[other])], DESK.tiers)
        assert found is not None and shown[label].number == pytest.approx(found.value)


@pytest.fixture(scope="module")
def second(scale: Scale) -> Iterator[Scale]:
    """The tiny scale under the second protocol."""
    made = dataclasses.replace(
        scale,
        name="tiny-two",
        protocol=2,
        seeds=(2, 2),
        many_samples={"samples": 8, "evaluate_limit": 5},
        policy={"K": 4, "batch": 2, "micro_batch": 8, "learning_rate": 1e-2},
        setups={name: dataclasses.replace(setup, updates=5) for name, setup in scale.setups.items() if name != "concise"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCALES, "tiny-two", made)
        yield made
    cells._homes.cache_clear()


@pytest.fixture(scope="module")
def results(second: Scale, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Records of the student, of GRPO with two seeds and of a distillation with two."""
    folder = tmp_path_factory.mktemp("neighbours")
    chosen = [row_cells(second, TABLE, TABLE.row(name), 2) for name in ("base", "grpo", "uniform")]
    for cell in [cell for row in chosen for cell in row]:
        for piece in shared_by(cell, folder / "work").values():
            piece.run()
        run_cell(cell, folder / "results", folder / "work")
    return Results(folder / "results")


def test_records_of_policy_gradient(results: Results, second: Scale) -> None:
    record = results.get(row_cells(second, TABLE, TABLE.row("grpo"), 1)[0])
    assert record is not None
    content = record.content
    assert content["options"]["advantage"] == "grpo" and content["training"]["updates"] == 3
    assert content["flops"].keys() == {"training", "reference", "rollouts"}
    assert content["training"]["rollouts"]["responses"] == 3 * 2 * 4 and record.flops > 0
    assert all(scores["samples"] == 8 for scores in content["scores"].values())


def test_pass_at_k_and_the_problems_never_solved_by_a_loop(results: Results, second: Scale) -> None:
    base, grpo = (measure_row(results, second, TABLE, TABLE.row(name)) for name in ("base", "grpo"))
    eight, beyond = pass_at(second)
    (never,), (mean,) = unsolved(second), mean_of_tiers(second)
    assert values_of(grpo, beyond) == [] and combined([(1.0, grpo), (-1.0, base)], second.tiers, "pass@32") is None  # 8 samples
    before = base.records[0].content["scores"]
    for seed, found, solved, accuracy in zip((0, 1), values_of(grpo, eight), values_of(grpo, never), values_of(grpo, mean), strict=True):
        scores = grpo.records[seed].content["scores"]
        by_tier = [np.mean([float(count > 0) for count in scores[tier]["correct"]]) for tier in second.tiers]  # pass@8 of 8
        assert found == pytest.approx(100 * float(np.mean(by_tier)))
        assert found == pytest.approx(100 * np.mean([pass_at_k(np.array(scores[t]["correct"]), 8, 8).mean() for t in second.tiers]))
        kept = [
            now / 8 for tier in second.tiers for was, now in zip(before[tier]["correct"], scores[tier]["correct"], strict=True) if was == 0
        ]
        assert len(kept) >= 2 and solved == pytest.approx(100 * float(np.mean(kept)))
        assert accuracy == pytest.approx(100 * float(np.mean([np.mean(scores[tier]["correct"]) / 8 for tier in second.tiers])))
    assert values_of(base, never) == [0.0]
    difference = combined([(1.0, grpo), (-1.0, base)], second.tiers, "unsolved")
    assert difference is not None and difference.value == pytest.approx(float(np.mean(values_of(grpo, never))))


def test_the_table_is_printed(results: Results, second: Scale) -> None:
    values, differences = grid_tables(results, second, TABLE, Reported())
    assert values.head[:6] == ("method", "regime", "mean of tiers, %", "pass@8, %", "pass@32, %", "p = 0 before, %")
    by_label = {row[0].text: row for row in values.rows}
    regimes = {label: by_label[label][1].text for label in ("Base", "GRPO", "distillation, no weighting")}
    assert regimes == {"Base": "–", "GRPO": "own rollouts", "distillation, no weighting": "references, one pass"}
    assert "±" in by_label["GRPO"][3].text and by_label["GRPO"][4].number is None
    assert any(row[0].text == "GRPO, to Base" and "[" in row[1].text for row in differences.rows)


def test_every_method_of_the_table_is_asked_of_the_two_rows_in_its_words() -> None:
    asked = [question.hypothesis for question in QUESTIONS]
    rows = [name for one in asked for contrast in one.contrasts for _, name in contrast.terms]
    assert {row.name for row in TABLE.rows} - set(rows) == {"paced-half", "paced-steps"} and len({one.name for one in asked}) == len(asked)
    for one in asked:
        (contrast,) = one.contrasts
        assert not one.primary and contrast.table == TABLE.name and [factor for factor, _ in contrast.terms] == [1.0, -1.0]
        assert bool(contrast.margin) == ("+ 1 point" in one.words), one.words
        said = {"retention": "retention", "primary": "accuracy", "pass@32": "pass@32", "unsolved": "accuracy on problems never solved"}
        assert one.words.startswith(f"{said[contrast.measure]}"), one.words
    assert not {one.name for one in asked} & {one.name for claim in claims_at(DESK) for one in claim.hypotheses}


def test_questions_are_answered_by_the_intervals_of_their_own_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "SAMPLES", 32)
    for row, accuracy in {"base": 0.05, "uniform": 0.6, "grpo": 0.05, "guide": 0.3, "psr": 0.01, "ewc": 0.6, "maxrl": 0.05}.items():
        write_row(tmp_path, "neighbours", row, accuracy, 3, DESK)
    results = Results(tmp_path)
    found = {question.method: finding_of(question.hypothesis, results, DESK) for question in QUESTIONS}
    rows = {name: measure_row(results, DESK, TABLE, TABLE.row(name)) for name in ("base", "grpo", "guide", "psr")}
    for method, better, worse, measure in (("Guide", "guide", "grpo", "unsolved"), ("PSR", "base", "psr", "pass@32")):
        by_hand = combined([(1.0, rows[better]), (-1.0, rows[worse])], DESK.tiers, measure)
        assert by_hand is not None and found[method].estimate == by_hand and found[method].verdict == "replicates"
    assert found["MaxRL"].verdict != "replicates" and found["EWC"].verdict != "replicates"  # of rows that are alike
    assert found["ACE"].missing.startswith("not run") and found["ACE"].verdict == "not decided"
    lines = neighbour_block(results, DESK).splitlines()
    (guide,) = [line for line in lines if line.startswith("| Guide |")]
    assert finding_text(found["Guide"]) in guide and guide.endswith("| replicates |") and len(lines) == 2 + len(QUESTIONS)


def test_a_measure_that_the_samples_do_not_hold_is_said_to_be_lacking(results: Results, second: Scale) -> None:
    (beyond,) = [question.hypothesis for question in QUESTIONS if question.method == "PSR"]
    wanted = dataclasses.replace(beyond, contrasts=(dataclasses.replace(beyond.contrasts[0], terms=((1.0, "base"), (-1.0, "grpo"))),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts, "LEAST_SEEDS", 2)
        assert "pass@32 cannot be measured" in finding_of(wanted, results, second).missing


def test_strengths_are_those_that_keep_most_at_a_cost_of_at_most_a_point() -> None:
    tried: dict[str, dict[float, tuple[float, float]]] = {"none": {}, "ewc": {}, "kl": {}}
    for path in (ROOT / "results" / "desk" / "selection-forgetting").glob("*.json"):
        record = read_checked(path, "selection")
        config, gain = record["config"], record["difference_to_base"]
        assert (config["seed"], config["steps"], config["learning_rate"], config["evaluate_limit"]) == (90, 200, 5e-4, 1834)
        tried[config["forgetting"]][config["forgetting_strength"]] = (record["mean_of_tiers"], gain["lab:retention"]["value"])
    ((plain, _),) = tried["none"].values()
    for name, strengths in {"ewc": [10, 100, 1000], "kl": [0.3, 1, 3]}.items():
        assert sorted(tried[name]) == strengths
        allowed = {strength: kept for strength, (accuracy, kept) in tried[name].items() if accuracy >= plain - 0.01}
        assert desk(name).options["forgetting_strength"] == max(allowed, key=allowed.__getitem__)
