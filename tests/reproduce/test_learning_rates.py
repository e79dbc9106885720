"""Selecting a scale's learning rates: the baseline is the grid's own unweighted cell, the ladder is climbed until the best is inside, records decide."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json, write_checked
from paced_exp.reproduce import learning_rates
from paced_exp.reproduce.__main__ import main as reproduce
from paced_exp.reproduce.cells import all_cells, cell_of
from paced_exp.reproduce.grids import main_table
from paced_exp.reproduce.learning_rates import RUNGS, check_rates, scale_named, select_rate, selected_rates, selection_of
from paced_exp.reproduce.run_grid import Plan
from paced_exp.reproduce.scales import GPU
from paced_exp.training.config import DistillConfig
from paced_exp.training.selection_grid import SETTINGS, SelectionConfig, finished


def write_pair(config: SelectionConfig, rate: float, mean: float, retention: float = -0.01) -> None:
    """The record of a pair; retention: how the rate changes it."""
    accuracy = {"lab:mid": mean, "lab:retention": 0.9}
    record = {
        "kind": "selection",
        "learning_rate": rate,
        "steps": config.steps[0],
        "accuracy": accuracy,
        "mean_of_tiers": mean,
        "difference_to_base": {"lab:retention": {"value": retention}},
    }
    write_checked(Path(config.records) / f"{config.name(rate, config.steps[0])}.json", record)


def complete(results: Path, best: float, settings: Any = SETTINGS) -> None:
    """Records of the best rate and both its neighbours."""
    for setting in settings:
        at = RUNGS.index(best)
        for index in (at - 1, at, at + 1):
            write_pair(selection_of(GPU, setting, results), RUNGS[index], 0.5 - 0.1 * abs(index - at))


@pytest.mark.parametrize("setting", list(SETTINGS))
def test_the_baseline_is_the_unweighted_cell_of_the_grid(setting: str, tmp_path: Path) -> None:
    baseline = selection_of(GPU, setting, tmp_path).baseline()
    table = main_table(2, setting)
    cell = cell_of(GPU, table, table.row("uniform"), 100).config
    assert isinstance(cell, DistillConfig) and cell.steps is not None and cell.limit is not None
    ours, theirs = configs.as_dict(baseline), configs.as_dict(cell)
    decided_elsewhere = {"seed", "learning_rate", "steps", "samples", "limit"}
    assert {name for name in ours if ours[name] != theirs[name]} <= decided_elsewhere
    # A part of the pool that its updates pass over once, and a seed that no cell has.
    assert baseline.limit is not None and cell.steps * cell.batch <= baseline.limit <= cell.limit and baseline.seed == 90 < GPU.first_seed
    assert selection_of(GPU, setting, tmp_path).samples == cell.samples and selection_of(GPU, setting, tmp_path).steps == (cell.steps,)


@pytest.mark.parametrize(("best", "extra"), [(3e-4, 0), (1e-4, 1), (1e-2, 3), (3e-2, 3), (1e-6, 4)])
def test_the_ladder_is_climbed_until_the_best_is_inside(best: float, extra: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A curve with one peak is followed to it from 3e-4, at most one rung beyond; at the ladder's ends there is no further rung."""

    def train(config: SelectionConfig) -> list[dict[str, Any]]:
        for rate in config.rates:
            write_pair(config, rate, 1 / (1 + abs(RUNGS.index(rate) - RUNGS.index(best))))
        return finished(config)

    monkeypatch.setattr("paced_exp.training.select_rate.select", train)
    config = selection_of(GPU, "distillation", tmp_path)
    assert config.rates == (1e-4, 3e-4, 1e-3)
    records = select_rate(GPU, config)
    assert records[0]["learning_rate"] == best and len(records) == 3 + extra
    assert selected_rates(GPU, tmp_path) == {"distillation": best}


def test_a_selection_that_is_not_complete_decides_nothing(tmp_path: Path) -> None:
    config = selection_of(GPU, "distillation", tmp_path)
    write_pair(config, 3e-4, 0.5)
    write_pair(config, 1e-4, 0.4)
    assert selected_rates(GPU, tmp_path) == {}
    write_pair(config, 1e-3, 0.6)  # now the best, at the edge
    assert selected_rates(GPU, tmp_path) == {}
    write_pair(config, 3e-3, 0.3)
    assert selected_rates(GPU, tmp_path) == {"distillation": 1e-3}
    other = dataclasses.replace(config, training={**(config.training or {}), "batch": 8})
    write_pair(other, 3e-2, 0.9)  # made with other options: not of this selection
    assert selected_rates(GPU, tmp_path) == {"distillation": 1e-3}


def test_a_rate_that_costs_too_much_retention_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The higher the rate the better the tiers and the worse retention: the best that costs at most 2 points is chosen, with its neighbours tried."""
    costs = dict(zip(RUNGS, (0.0, 0.001, 0.002, 0.004, 0.008, 0.0199, 0.0201, 0.05, 0.1, 0.2), strict=True))

    def train(config: SelectionConfig) -> list[dict[str, Any]]:
        for rate in config.rates:
            write_pair(config, rate, 0.1 + 0.05 * RUNGS.index(rate), -costs[rate])
        return finished(config)

    monkeypatch.setattr("paced_exp.training.select_rate.select", train)
    select_rate(GPU, selection_of(GPU, "distillation", tmp_path))
    assert selected_rates(GPU, tmp_path) == {"distillation": RUNGS[5]}
    # From above it is reached too; and where even the lowest costs too much, that is said.
    costs.update(dict.fromkeys(RUNGS[2:], 0.03))
    assert selected_rates(GPU, tmp_path / "other") == {}
    select_rate(GPU, selection_of(GPU, "distillation", tmp_path / "other"))
    assert selected_rates(GPU, tmp_path / "other") == {"distillation": RUNGS[1]}
    costs.update(dict.fromkeys(RUNGS, 0.03))
    with pytest.raises(UserError, match="every rate down to 1e-06 costs more than 2 points of retention"):
        select_rate(GPU, selection_of(GPU, "distillation", tmp_path / "third"))
    assert selected_rates(GPU, tmp_path / "third") == {}


def test_a_record_that_does_not_say_what_its_rate_costs_is_refused(tmp_path: Path) -> None:
    complete(tmp_path, 3e-4)
    config = selection_of(GPU, "distillation", tmp_path)
    path = Path(config.records) / f"{config.name(3e-4, config.steps[0])}.json"
    record = read_json(path)
    write_checked(path, {name: value for name, value in record.items() if name != "checksum"} | {"difference_to_base": {}})
    with pytest.raises(UserError, match=r"rate 0\.0003 .* does not say what it costs of lab:retention"):
        selected_rates(GPU, tmp_path)


def test_every_setup_takes_the_rate_of_its_kind(tmp_path: Path) -> None:
    complete(tmp_path, 1e-3, ["distillation"])
    complete(tmp_path, 1e-4, ["self-distillation"])
    scale = scale_named("gpu", tmp_path)
    assert {name: setup.learning_rate for name, setup in scale.setups.items()} == {
        "distillation": 1e-3,
        "llama": 1e-3,
        "self-distillation": 1e-4,
    }
    assert not any("not selected" in note for note in scale.notes)
    rate = {
        cell.setup: cell.config.learning_rate
        for cell in all_cells(scale, 1)
        if isinstance(cell.config, DistillConfig) and "classp" not in cell.name
    }
    assert rate == {name: setup.learning_rate for name, setup in scale.setups.items()}
    check_rates(scale, tmp_path, scale.setups)


def test_nothing_is_run_at_rates_that_were_not_selected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paced_exp.reproduce.models_made.is_there", lambda model: True)
    argv = ["--table", "one-pass", "--scale", "gpu", "--results", str(tmp_path), "--work", str(tmp_path / "work")]
    with pytest.raises(
        UserError, match=r"no learning rate has been selected for distillation under .*reproduce.learning_rates --scale gpu"
    ):
        reproduce(argv)
    assert reproduce([*argv, "--dry-run"]) == 0
    assert "learning rates are not selected yet: python -m paced_exp.reproduce.learning_rates --scale gpu" in capsys.readouterr().out
    with pytest.raises(UserError, match="selected for distillation and self-distillation under"):
        reproduce([*argv, "--table+", "self-one-pass"])


def test_a_grid_needs_the_rates_that_it_trains_at_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So grids can begin while another rate, or another model, is still being made. A probe of the untrained student needs none."""
    started: list[Plan] = []
    monkeypatch.setattr("paced_exp.reproduce.models_made.is_there", lambda model: True)
    monkeypatch.setattr("paced_exp.reproduce.run_grid.run_plan", lambda plan, *_, **__: bool(started.append(plan)))
    complete(tmp_path, 1e-3, ["distillation"])
    argv = ["--scale", "gpu", "--results", str(tmp_path), "--work", str(tmp_path / "work")]
    assert reproduce([*argv, "--table", "one-pass"]) == 3  # as if time had been up
    with pytest.raises(UserError, match="selected for self-distillation under"):
        reproduce([*argv, "--table", "self-one-pass"])
    none = ["--results", str(tmp_path / "none")]
    assert reproduce([*argv, "--scale", "smollm2", "--table", "alignment", *none]) == 3
    with pytest.raises(UserError, match="selected for distillation under"):  # its probes are after training too
        reproduce([*argv, "--table", "alignment", *none])
    assert [plan.setups_trained for plan in started] == [{"distillation"}, set()]
    with pytest.raises(UserError, match="selected for distillation under"):
        reproduce([*argv, "--table", "llama-one-pass", *none])


def test_fixed_rates_are_left_alone(tmp_path: Path) -> None:
    assert scale_named("desk-v1", tmp_path) is scale_named("desk-v1", tmp_path / "other")
    with pytest.raises(UserError, match="--scale desk-v1 has fixed learning rates; selected are those of: smollm2, gpu"):
        learning_rates.main(["--scale", "desk-v1"])


def test_the_command_prints_every_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paced_exp.training.select_rate.select", finished)
    complete(tmp_path, 1e-3)
    learning_rates.main(["--scale", "gpu", "--results", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "distillation:" and lines[4] == "self-distillation:" and len(lines) == 8
    assert [line.split()[1] for line in lines if line.startswith("  rate")] == ["0.001", "0.0003", "0.003"] * 2
