"""`paced distill --adaptive`: its measurements stop early as `paced rollout --adaptive` does, weigh by empirical Bayes, and survive kills."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import paced_exp.distill as distill
from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.data.problem_tables import stopped_early
from paced_exp.grading import grader as grading
from paced_exp.reproduce.cells import cells_of
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.scales import DESK_V1
from paced_exp.rollouts.pass_rates import read_pass_rates
from paced_exp.rollouts.stopping import Stopping
from paced_exp.rollouts.store import ChunkStore
from paced_exp.training.config import DistillConfig
from paced_exp.weighting import Weighting, weights
from paced_theory.stopping import as_exact_as
from tests.support import children
from tests.support.distill_setup import PROBLEMS, arguments
from tests.support.graders import HashGrader

pytestmark = pytest.mark.usefixtures("one_thread", "hash_grader")

# In float64, so that no draw depends on the batch it is made in.
OPTIONS: dict[str, Any] = {
    "stages": "forward_kl:0.5,reverse_kl:0.5",
    "steps": 8,
    "rollout-every": 3,
    "teacher-statistics": "exact",
    "K": 8,
    "estimate": "empirical_bayes",
    "dtype": "float64",
}
EARLY = {**OPTIONS, "adaptive": "largest"}
FIRST, SECOND = "pass_rate_rollouts-000000", "pass_rate_rollouts-000004"


@pytest.fixture(scope="module")
def runs(models: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`early` and, with K rollouts for all, `fixed`."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "Grader", HashGrader)
        distill.main(arguments(models, source, folder / "early", **EARLY))
        distill.main(arguments(models, source, folder / "fixed", **OPTIONS))
    return folder


def outcomes(folder: Path, name: str) -> pd.DataFrame:
    """The rollouts of all rounds of a measurement."""
    stores = [ChunkStore(folder, path.stem) for path in sorted(folder.glob(f"{name}*.jsonl"))]
    found = pd.concat([store.outcomes() for store in stores]).sort_values(["problem_id", "sample"], ignore_index=True)
    assert not found.duplicated(["problem_id", "sample"]).any()
    return found


def test_it_rolls_out_the_beginnings_of_k_for_all_until_the_rule_stops(runs: Path) -> None:
    early, fixed = outcomes(runs / "early", FIRST), outcomes(runs / "fixed", FIRST)
    n = early.groupby("problem_id").size()
    assert len(n) == PROBLEMS and n.min() >= 2 and n.max() <= 8 and n.nunique() > 1 and len(fixed) == 8 * PROBLEMS
    pd.testing.assert_frame_equal(early, fixed[fixed["sample"] < fixed["problem_id"].map(n)].reset_index(drop=True))
    # The oracle: the rule applied to one problem after the other, one rollout at a time.
    firsts = fixed[fixed["sample"] < 2].groupby("problem_id")["correct"].sum().to_numpy()
    stopping = Stopping.of("largest", 8, 3, None, (firsts, np.full(PROBLEMS, 2)))
    for name, rows in fixed.groupby("problem_id"):
        passed, t = rows.sort_values("sample")["correct"].to_numpy(), 2
        while stopping.goes_on(str(name), int(passed[:t].sum()), t):
            t += 1
        assert t == n[name]


def test_weights_and_pass_rates_are_those_of_rollouts_that_stopped_early(runs: Path) -> None:
    record = read_json(runs / "early" / "record.json")
    path = runs / "early" / "pass_rates.parquet"
    rates = read_pass_rates(path, None)
    assert record["weights"] == weights(rates["k"], rates["K"], estimator="empirical_bayes").summary()
    assert stopped_early(path) and not stopped_early(runs / "fixed" / "pass_rates.parquet")
    unbiased = pd.read_parquet(path)["unbiased"]
    first, second = record["segments"]
    assert first["pass_rate"] == pytest.approx(unbiased.mean()) and first["pass_rate"] != pytest.approx((rates["k"] / rates["K"]).mean())
    made = [len(outcomes(runs / "early", name)) for name in (FIRST, SECOND)]
    assert [segment["adaptive"]["rollouts"] for segment in (first, second)] == made
    assert record["training"]["rollouts"]["responses"] == sum(made) + 8 * 4
    assert all(segment["adaptive"]["law_from"] == "fitted to the first rollouts" for segment in (first, second))
    assert first["adaptive"]["law"] != second["adaptive"]["law"]  # each measurement has the law of its own student
    assert all("adaptive" not in segment for segment in read_json(runs / "fixed" / "record.json")["segments"])


def test_the_summary_says_what_was_saved(runs: Path, models: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distill.main(arguments(models, source, runs / "early", **EARLY))
    printed = capsys.readouterr().out
    assert printed.count(f"rollouts where K = 8 for all has {8 * PROBLEMS}, ") == 2
    distill.main(arguments(models, source, runs / "fixed", **OPTIONS))
    assert "stopped early" not in capsys.readouterr().out


def test_kills_in_any_round_change_no_bit_of_the_weights(runs: Path, models: Path, source: Path, tmp_path: Path) -> None:
    argv = arguments(models, source, tmp_path / "killed", **EARLY)
    done = children.run("-m", "tests.support.kill_distill", 11, *argv)
    assert done.returncode == 0, done.stderr[-3000:]
    distill.main(argv)
    expected, found = (load_file(folder / "model" / "model.safetensors") for folder in (runs / "early", tmp_path / "killed"))
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)
    assert (tmp_path / "killed" / "pass_rates.parquet").read_bytes() == (runs / "early" / "pass_rates.parquet").read_bytes()


def test_two_processes_stop_where_one_does(runs: Path, models: Path, source: Path, tmp_path: Path) -> None:
    done = children.run("-m", "tests.support.two_processes", *arguments(models, source, tmp_path / "two", **EARLY))
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "two" / "pass_rates.parquet").read_bytes() == (runs / "early" / "pass_rates.parquet").read_bytes()
    expected, found = (load_file(folder / "model" / "model.safetensors") for folder in (runs / "early", tmp_path / "two"))
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-5)


def test_a_round_that_went_missing_behind_the_run_is_named(runs: Path, models: Path, source: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(runs / "early", tmp_path / "copy"))
    for name in ("record.json", "trained.json"):
        (folder / name).unlink()
    (folder / f"{SECOND}-0002.jsonl").unlink()
    with pytest.raises(UserError, match=rf"{SECOND}-0002.jsonl is missing, although the run is past update 4"):
        distill.main(arguments(models, source, folder, **EARLY))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimate": "plugin"}, "--estimate plugin does not suit --adaptive largest: where rollouts stop early, k/K is biased"),
        ({"estimate": "unbiased"}, "--estimate unbiased does not suit --adaptive largest"),
        ({"method": "uniform", "estimate": "plugin"}, "--adaptive largest has no effect with --method uniform"),
        ({"method": "hard_filter"}, "cannot tell when a weight of --method hard_filter is certain"),
        ({"method": "maxrl", "order": 4}, "cannot tell when a weight of --method maxrl is certain"),
        ({"K": 1}, "--adaptive largest needs -K from 2 to 1024, not 1"),
        ({"K": 1025}, "--adaptive largest needs -K from 2 to 1024, not 1025"),
        ({"weights": "w.csv", "estimate": "plugin"}, "--adaptive largest has no effect with --weights w.csv"),
        ({"pass-rates": "k.csv", "stages": "forward_kl"}, "--adaptive largest has no effect with --pass-rates k.csv"),
        ({"pass-rates": "k.csv", "recompute": "never"}, "--adaptive largest has no effect with --pass-rates k.csv"),
        ({"adaptive": "both"}, "--adaptive both is not known; known: off, mean, largest"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], message: str, models: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        distill.main(arguments(models, source, tmp_path / "out", **{**EARLY, **changes}))
    assert message in str(caught.value) and "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "exponents"),
    [
        ({}, (1.0, 1.0)),
        ({"alpha": 2.0, "beta": 0.5}, (2.0, 0.5)),
        ({"method": "grpo"}, (0.5, 0.5)),
        ({"method": "focal", "gamma": 3.0}, (0.0, 3.0)),
    ],
)
def test_the_rule_is_made_for_the_methods_own_weights(options: dict[str, Any], exponents: tuple[float, float]) -> None:
    config = DistillConfig(adaptive="mean", estimate="posterior", **options)
    assert config.exponents == exponents
    kernel = Weighting(**options).kernel(np.ones(1))
    p = np.array([0.1, 0.4, 0.9])
    assert kernel(p) == pytest.approx(p ** exponents[0] * (1 - p) ** exponents[1])
    stopping = Stopping.of("mean", 8, 0, (0.35, 0.43), (np.zeros(0, int), np.zeros(0, int)), exponents)
    rule = as_exact_as(8, "mean", first=2, alpha=exponents[0], beta=exponents[1], prior=(0.35, 0.43))
    assert (stopping.rule.proceed == rule.proceed).all() and stopping.record(np.full(3, 8))["exponents"] == list(exponents)


def test_cells_and_records_of_earlier_runs_do_not_know_the_option() -> None:
    assert configs.earlier(DistillConfig)["adaptive"] == "off"
    cells = [cell for cell in cells_of(DESK_V1, BY_NAME["kernels"], 1) if isinstance(cell.config, DistillConfig)]
    assert cells and all("adaptive" not in cell.options for cell in cells)
