"""The grids hold what the issue lists; equal rows are one cell; a cell's configuration is the row's on its scale."""

import dataclasses
from pathlib import Path

import pytest

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.reproduce.cells import NEUTRAL_OPTIONS, all_cells, base_cell, cell_of, cells_of
from paced_exp.reproduce.claims import CLAIMS
from paced_exp.reproduce.grids import BY_NAME, TABLES, table_named, tables_of
from paced_exp.reproduce.learning_rates import scale_named, selection_of
from paced_exp.reproduce.probes import PROBE_TABLES, probes_of
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.run_cell import cell_folder
from paced_exp.reproduce.scales import DESK_V1, SCALES
from paced_exp.reproduce.verdicts import LEAST_SEEDS
from paced_exp.training.config import DistillConfig
from paced_exp.training.selection_grid import SelectionConfig

SCALE_NAMES = tuple(SCALES)
DESK_SELECTION = Path(__file__).resolve().parents[2] / "results" / "desk" / "selection"


@pytest.mark.parametrize("name", SCALE_NAMES)
def test_every_cell_has_a_valid_configuration_and_a_record_of_its_own(name: str) -> None:
    cells = all_cells(SCALES[name])
    assert len({cell.key for cell in cells}) == len({cell.name for cell in cells}) == len(cells)
    assert all(not cell.trained or cell.config.seed == cell.seed for cell in cells)


def test_rows_of_equal_options_are_one_cell_with_one_home() -> None:
    paced = [
        cell_of(DESK_V1, BY_NAME[table], BY_NAME[table].row(row), 2)
        for table, row in (
            ("distillation", "paced"),
            ("forgetting-distillation", "paced"),
            ("two-stage", "paced"),
            ("exponents", "a1-b1"),
            ("rollouts", "k8-plugin"),
            ("recomputation", "never"),
            ("kernels", "paced"),
            ("sampling", "loss"),
            ("masks", "paced-all"),
            ("compute", "paced"),
        )
    ]
    assert {cell.name for cell in paced} == {"distillation/paced-s2"} and len({cell.key for cell in paced}) == 1


def test_no_exponents_are_no_weighting() -> None:
    table = BY_NAME["exponents"]
    assert cell_of(DESK_V1, table, table.row("a0-b0"), 0).name == "distillation/uniform-s0"


def test_the_exponents_are_the_square_and_the_moved_peak() -> None:
    configs = [cell_of(DESK_V1, BY_NAME["exponents"], row, 0).config for row in BY_NAME["exponents"].rows[1:]]
    pairs = {(config.alpha, config.beta) for config in configs if isinstance(config, DistillConfig)}
    square = {(a, b) for a in (0, 0.5, 1, 2) for b in (0, 0.5, 1, 2)} - {(0, 0)}
    assert pairs == square | {(0.5, 1.5), (1.5, 0.5)}


def test_tables_are_numbered_in_order() -> None:
    for protocol, first in ((1, 1), (2, 22)):
        numbers = [table.number for table in tables_of(protocol)]
        assert numbers == list(range(first, first + len(numbers)))
    for table in TABLES:
        assert len({row.name for row in table.rows}) == len(table.rows)


def test_every_row_says_where_the_papers_value_is() -> None:
    reported = Reported()
    for table in TABLES:
        for row in table.rows:
            found = reported.values(table, row)
            assert found is None or len(found) == len(reported.columns(table))
    paced = BY_NAME["distillation"]
    assert reported.accuracies(paced, paced.row("paced")) == [(79.4, 0.5), (25.1, 1.0), (20.6, 0.7)]
    assert reported.values(BY_NAME["forgetting-self"], BY_NAME["forgetting-self"].row("paced")) == [(0.6, None)]
    order = BY_NAME["stage-order"]
    assert reported.accuracies(order, order.row("reverse-forward")) is None
    found = reported.values(order, order.row("forward-reverse"))
    assert found is not None and found[3] == (1.1, None) and reported.accuracies(order, order.row("forward-reverse")) == found[:3]


def test_stages_and_recomputation_follow_the_scale() -> None:
    steps = DESK_V1.setups["distillation"].updates
    table = BY_NAME["recomputation"]
    found = {row.name: cell_of(DESK_V1, table, row, 0).config for row in table.rows}
    assert found["half"].recompute == str(steps // 2) and found["eighth"].recompute == str(steps // 8)
    doubled = cell_of(DESK_V1, BY_NAME["compute"], BY_NAME["compute"].row("paced-double"), 0).config
    assert isinstance(doubled, DistillConfig) and doubled.steps == 2 * steps
    assert {cell.config.stages for cell in cells_of(DESK_V1, BY_NAME["stage-ratio"], 1)} == {
        "forward_kl:0.25,reverse_kl:0.75",
        "forward_kl:0.5,reverse_kl:0.5",
        "forward_kl:0.75,reverse_kl:0.25",
    }


def test_options_leave_out_where_a_run_lies() -> None:
    cell = base_cell(DESK_V1, "llama")
    assert not cell.trained and cell.config.model == "lab:student-llama" and not set(NEUTRAL_OPTIONS) & set(cell.options)


@pytest.mark.parametrize("name", [name for name in SCALE_NAMES if name not in ("paper", "smollm2")])
def test_scales_with_records_train_with_the_loss_that_made_them(name: str) -> None:
    """Records do not say which; fused and dense differ by rounding, which grows along a trajectory. The paper's scale and SmolLM2's have none."""
    trained = [cell.config for cell in all_cells(SCALES[name]) if isinstance(cell.config, DistillConfig)]
    assert trained and {config.loss for config in trained} == {"dense"}
    for probe in (probe for table in PROBE_TABLES for probe in probes_of(SCALES[name], table)):
        assert probe.config.at_steps is None or probe.config.training_until(20).loss == "dense"


def test_the_loss_is_in_no_key_and_no_options(tmp_path: Path) -> None:
    """So records, runs under way and selections made before there was a choice are found, whatever the loss."""
    cell = next(cell for cell in all_cells(DESK_V1) if cell.trained)
    other = dataclasses.replace(cell, config=dataclasses.replace(cell.config, loss="fused"))
    assert "loss" not in cell.options and (other.options, other.key) == (cell.options, cell.key)
    assert cell_folder(other, tmp_path) == cell_folder(cell, tmp_path)
    # As the version before named them: the committed selection of the desk's rates.
    training = {"problems": "lab:pool", "limit": 7000, "regime": "one-pass", "evaluate_limit": 1834}
    made = SelectionConfig(training=training, samples=4, seed=90)
    assert {path.name for path in DESK_SELECTION.glob("distillation-*")} == {
        f"{made.name(rate, 200)}.json" for rate in (3e-4, 5e-4, 1e-3, 2e-3)
    }
    assert made.baseline().loss == selection_of(SCALES["gpu"], "distillation", tmp_path).baseline().loss == "dense"


def test_seeds_come_whole_and_main_tables_first() -> None:
    seeds = [cell.seed for cell in cells_of(DESK_V1, BY_NAME["kernels"])]
    assert seeds == sorted(seeds) and set(seeds) == set(range(DESK_V1.seeds[1]))
    names = [cell.table for cell in all_cells(DESK_V1)]
    others = {table.name for table in TABLES if not table.main}
    assert min(index for index, name in enumerate(names) if name in others) > max(
        index for index, name in enumerate(names) if name not in others
    )


def test_every_table_that_a_claim_rests_on_has_the_most_seeds() -> None:
    judged = {contrast.table for claim in CLAIMS for hypothesis in claim.hypotheses for contrast in hypothesis.contrasts}
    assert judged and all(BY_NAME[name].main for name in judged) and DESK_V1.seeds[0] >= LEAST_SEEDS


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(UserError, match="`table` nine is not known; known: 1 distillation"):
        table_named("nine")
    with pytest.raises(UserError, match="`scale` big is not known; known: desk, desk-v1, smollm2, gpu, paper, smoke"):
        scale_named("big", Path("results"))
    assert table_named("9").name == "recomputation"


@pytest.mark.parametrize("setup", ["distillation", "self-distillation"])
def test_the_desks_rate_and_updates_are_those_chosen_on_the_unweighted_baseline(setup: str) -> None:
    """The selection's records, made with a seed that no cell has: the best mean of the tiers is what every method runs with."""
    folder = Path(__file__).resolve().parents[2] / "results" / "desk-v1" / "distill" / "selection"
    records = [read_json(path) for path in sorted(folder.glob(f"{setup}-lr*.json"))]
    best = max(records, key=lambda record: record["mean_of_tiers"])
    assert (best["learning_rate"], best["steps"]) == (DESK_V1.setups[setup].learning_rate, DESK_V1.setups[setup].updates)
    assert best["config"]["method"] == "uniform" and {record["seed"] for record in records}.isdisjoint(range(DESK_V1.seeds[0]))
