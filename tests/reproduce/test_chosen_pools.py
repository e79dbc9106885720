"""Pools chosen by pass rate: as many at an end as asked, from rollouts of their own, made before what trains on them."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_checked
from paced_exp.data.sources import load_problems
from paced_exp.reproduce import cells, run_grid
from paced_exp.reproduce.cells import Cell, cell_of, row_cells
from paced_exp.reproduce.chosen_pools import KIND, SIDES, PoolsConfig, choose_pools, chosen, pool_path
from paced_exp.reproduce.grids import BY_NAME, tables_at
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.run_cell import run_cell
from paced_exp.reproduce.scale import ChosenPools
from paced_exp.reproduce.scales import DESK, SCALES, SMOKE, Scale
from paced_exp.reproduce.shared import shared_by, with_shared
from paced_exp.rollouts.pass_rates import read_pass_rates
from paced_exp.training.config import DistillConfig

ROOT = Path(__file__).resolve().parents[2]


@given(
    st.lists(st.integers(0, 4), min_size=4, max_size=80),
    st.sampled_from(SIDES),
    st.integers(1, 30),
    st.floats(0.05, 0.95),
    st.integers(0, 9),
)
def test_a_pool_has_its_share_at_the_end_and_no_problem_twice(counts: list[int], side: str, size: int, share: float, seed: int) -> None:
    k, end = np.array(counts), 0 if side == "beyond" else 4
    wanted = round(share * size)
    if (k == end).sum() < wanted or (k != end).sum() < size - wanted:
        with pytest.raises(
            UserError, match=rf"the pool {side} needs \d+ problems (at|away from) k = {end}, and \d+ of {len(k)} drawn ones are"
        ):
            chosen(k, 4, side, size=size, share=share, seed=seed)  # type: ignore[arg-type]
        return
    found = chosen(k, 4, side, size=size, share=share, seed=seed)  # type: ignore[arg-type]
    assert len(set(found.tolist())) == size and (k[found] == end).sum() == wanted
    assert found.tolist() == chosen(k, 4, side, size=size, share=share, seed=seed).tolist()  # type: ignore[arg-type]


def test_the_others_are_a_random_part_of_all_that_are_not_at_the_end() -> None:
    """1,000 problems each at k = 0, 1 and 4: of 400 pools the others of `beyond` are half at k = 1, half at k = 4, and each equally often."""
    k = np.repeat([0, 1, 4], 100)
    picked = np.zeros(300)
    for seed in range(400):
        picked[chosen(k, 4, "beyond", size=50, share=0.8, seed=seed)] += 1
    assert picked[:100].sum() == 400 * 40 and picked[100:].sum() == 400 * 10
    assert picked[100:200].sum() == pytest.approx(2000, abs=5 * np.sqrt(400 * 10 / 4))
    assert picked[:100].max() < 160 + 6 * np.sqrt(160) and picked[:100].min() > 160 - 6 * np.sqrt(160)


@pytest.fixture
def skewed(scale: Scale, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scale]:
    """The tiny scale, on the second protocol's tables of chosen pools."""
    own = {f"skewed-{side}": ("base", "uniform", "paced", "hard-filter-published") for side in SIDES}
    made = dataclasses.replace(
        scale, name="tiny", protocol=2, rows=own, chosen=ChosenPools(scale.problems, drawn=24, size=5, K=1, share=0.6),
        setups={name: dataclasses.replace(setup, updates=4) for name, setup in scale.setups.items()},
    )  # fmt: skip
    monkeypatch.setitem(SCALES, "tiny", made)
    for side in SIDES:
        monkeypatch.setitem(BY_NAME, f"skewed-{side}", dataclasses.replace(BY_NAME[f"skewed-{side}"], scales=("tiny",)))
    cells._homes.cache_clear()
    yield made
    cells._homes.cache_clear()


def cell(scale: Scale, table: str, row: str) -> Cell:
    return cell_of(scale, BY_NAME[table], BY_NAME[table].row(row), 0)


def test_pools_are_made_once_for_both_sides_and_before_what_reads_them(
    skewed: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paced_exp.reproduce.budget._evaluation", lambda *_: 1.0)  # it knows the sizes of declared sources alone
    one, other = (shared_by(cell(skewed, f"skewed-{side}", "paced"), tmp_path) for side in SIDES)
    assert list(one) == ["base", "pools", "pass_rates", "references"]
    assert one["pools"] == other["pools"] and one["pass_rates"] != other["pass_rates"] and one["base"].after is None
    for kind in ("pass_rates", "references"):
        assert one[kind].after == one["pools"] and one[kind].config.problems == str(pool_path(one["pools"].folder, "beyond"))
    assert one["pools"].config.seed not in {config.seed for config in (one["pass_rates"].config, one["references"].config)}
    plan = run_grid.make_plan(skewed, [cell(skewed, "skewed-beyond", "paced")], [], Results(tmp_path), tmp_path)
    names = [piece.name for piece in plan.shared]
    assert names.index(one["pools"].name) < names.index(one["pass_rates"].name)
    trained = with_shared(cell(skewed, "skewed-beyond", "paced"), tmp_path, tmp_path / "out")
    assert isinstance(trained, DistillConfig) and trained.problems == str(pool_path(one["pools"].folder, "beyond"))


@pytest.mark.filterwarnings("ignore:.*truncated")
def test_a_cell_trains_on_the_chosen_problems_and_its_record_says_how_they_were_chosen(skewed: Scale, tmp_path: Path) -> None:
    one = cell(skewed, "skewed-mastered", "uniform")
    needed = shared_by(one, tmp_path / "work")
    for piece in needed.values():
        piece.run()
        assert piece.done
    folder = needed["pools"].folder
    record = read_checked(folder / "record.json", KIND)
    rates = read_pass_rates(folder / "rollouts" / "pass_rates.parquet", None).set_index("problem_id")["k"]
    assert sum(record["drawn"]) == 24 and np.bincount(rates, minlength=2).tolist() == record["drawn"]
    for side, end in (("beyond", 0), ("mastered", 1)):
        problems = load_problems(str(pool_path(folder, side)))  # type: ignore[arg-type]
        assert len({problem.id for problem in problems}) == 5 and (rates[[problem.id for problem in problems]] == end).sum() == 3
    run_cell(one, tmp_path / "results", tmp_path / "work")
    found = Results(tmp_path / "results").get(one)
    assert (
        found is not None
        and found.content["options"]["problems"] == "5 of 24 of " + skewed.problems + ", 0.6 of them with k = 1 of 1 (seed 95)"
    )
    assert found.content["training"]["weights"]["problems"] == 5
    # The same again changes nothing: what was rolled out is kept, and the files are as they were.
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json*") if path.is_file()}
    needed["pools"].run()
    assert (folder / "rollouts" / "record.json").stat().st_mtime_ns == before[folder / "rollouts" / "record.json"]


def test_too_few_problems_are_said_before_anything_is_written(scale: Scale, tmp_path: Path) -> None:
    student = scale.setups["distillation"].student
    config = PoolsConfig(
        student=student, problems=scale.problems, K=2, limit=24, max_new_tokens=12, device="cpu", size=40, out=str(tmp_path / "p")
    )
    with pytest.raises(UserError, match="the pool beyond needs 32 problems at k = 0"):
        choose_pools(config)
    assert not (tmp_path / "p" / "record.json").exists()


@pytest.mark.parametrize(
    ("options", "message"), [({"size": 0}, "`size` 0 must be at least 1"), ({"share": 1.0}, "`share` 1.0 must be above 0")]
)
def test_nonsense_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PoolsConfig(**options)  # type: ignore[arg-type]


# ---- what the desk declares


def test_the_desks_pools_are_drawn_with_a_seed_of_their_own_and_hold_what_their_rows_need() -> None:
    plan = DESK.chosen
    assert plan is not None and plan.share == 0.8 and plan.K == 10
    assert plan.seed not in {*DESK.seed_range(10), 99, 90, 0}
    # How the same student's passes of ten fall, as a probe of the first protocol counted them on the same source.
    probe = read_checked(ROOT / "results" / "desk-v1" / "snr_verdict" / "qwen3" / "record.json", "snr_probe")
    assert (probe["config"]["problems"], probe["config"]["K"]) == (plan.source, plan.K)
    offered = np.array([one["offered"] for one in probe["bins"]]) / probe["rollouts"]["problems_drawn"]
    for end in (offered[0], offered[10]):
        assert 1.05 * plan.share * plan.size < end * plan.drawn, "enough problems at either end"
    # The chance that a problem at an end is solved (or failed) by its next rollout. Eight more take at least twice as many away from there.
    leaves = {"beyond": offered[1] / 10 / offered[0], "mastered": offered[9] / 10 / offered[10]}
    for side in SIDES:
        table = BY_NAME[f"skewed-{side}"]
        for row in table.rows[1:]:
            made = row_cells(DESK, table, row, 3)
            configs = [one.config for one in made if isinstance(one.config, DistillConfig)]
            assert {config.problems for config in configs} == {plan.words(side)} and len(made) == 3
            # A plug-in weight keeps what is at neither end, and at equal updates no problem is visited twice.
            kept = (1 - plan.share) * plan.size * offered[1:10].sum() / (1 - offered[0 if side == "beyond" else 10])
            kept += 2 * leaves[side] * plan.share * plan.size
            assert all(config.steps is not None and config.steps * config.batch < kept for config in configs)


@pytest.mark.parametrize("scale", [DESK, SMOKE], ids=lambda scale: scale.name)
def test_exploratory_tables_run_at_the_labs_scales_alone(scale: Scale) -> None:
    here = {table.name for table in tables_at(scale) if "desk" in table.scales}
    assert all(BY_NAME[name].exploratory for name in here)
    assert here == {"size-0.1m", "size-5m", "skewed-beyond", "skewed-mastered", "concise-one-pass"}
    for other in SCALES.values():
        assert other in (DESK, SMOKE) or not here & {table.name for table in tables_at(other)}
