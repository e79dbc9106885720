"""What waits for a model that must be made first: it is named in one line, and all else runs."""

import dataclasses
from pathlib import Path

import pytest

from paced_exp.core.errors import UserError
from paced_exp.lab.recipes import CONCISE_MODE, RECIPES, SIZES, build_model
from paced_exp.reproduce import run_grid
from paced_exp.reproduce.__main__ import main
from paced_exp.reproduce.architectures import _PLANNED, shape_of
from paced_exp.reproduce.cells import all_cells, cells_of
from paced_exp.reproduce.curves import with_curves
from paced_exp.reproduce.grids import BY_NAME, tables_at
from paced_exp.reproduce.models_made import is_there, lacking, models_of, words
from paced_exp.reproduce.probes import ALIGNMENT, probes_of
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scale import Made
from paced_exp.reproduce.scales import DESK, SCALES, SMOKE

SMALL = "runs/lab/student-0.1m/checkpoint"


def test_every_model_that_is_not_shipped_says_how_it_is_made() -> None:
    """Of all scales but the paper's, whose models are on the hub: a model is in the package, or `made`."""
    for scale in SCALES.values():
        if scale.name == "paper":
            continue
        named = {model for cell in all_cells(scale, 1) for model in models_of(cell)} - {"self"}
        assert {model for model in named if not model.startswith("lab:")} == set(scale.made), scale.name


def test_what_waits_is_named_and_what_does_not_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = [*cells_of(DESK, BY_NAME["size-0.1m"], 1), *cells_of(DESK, BY_NAME["one-pass"], 1)]
    probes = [probe for probe in probes_of(DESK, ALIGNMENT) if probe.key in ("aligned", "aligned_size-0.1m")]
    missing = lacking(DESK, [*cells, *probes])
    assert missing == {SMALL: ["size-0.1m/base", "size-0.1m/uniform-s100", "size-0.1m/paced-s100", "probe aligned_size-0.1m"]}
    line = words(DESK, missing)
    assert line.startswith(
        f"4 tasks wait for {SMALL}, which is not there; make it first: python -m paced_exp.lab pretrain student-0.1m (about"
    )
    plan = run_grid.make_plan(DESK, cells, probes, Results(tmp_path / "results"), tmp_path / "work")
    assert {cell.table for cell in plan.ready.missing} == {"one-pass"} and [probe.key for probe in plan.ready.probes] == ["aligned"]
    assert plan.ready.left == plan.left - 4 and not plan.ready.lacking
    # Shared work of what waits is not done either.
    of_ready = {piece.name for piece in plan.ready.shared}
    assert of_ready < {piece.name for piece in plan.shared}
    assert f"note: {line}" in run_grid.plan_text(plan, 2, tmp_path / "work")
    (tmp_path / SMALL).mkdir(parents=True)
    (tmp_path / SMALL / "config.json").write_text("{}")
    assert is_there(SMALL) and not lacking(DESK, [*cells, *probes])


def test_the_command_says_so_in_one_line_after_what_could_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran: list[list[str]] = []
    monkeypatch.setattr(run_grid, "run_plan", lambda plan, *_, **__: ran.append([cell.name for cell in plan.missing]) or True)
    folders = ["--results", str(tmp_path / "results"), "--work", str(tmp_path / "work")]
    with pytest.raises(
        UserError, match=r"^3 tasks wait for runs/lab/student-0\.1m/checkpoint, which is not there; make it first: .*\)$"
    ) as caught:
        main(["--table", "size-0.1m", "--seeds", "1", *folders])
    assert not ran and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="3 tasks wait for"):
        main(["--table", "size-0.1m", "--table", "multi-pass", "--seeds", "1", *folders])
    assert len(ran) == 1 and all(name.startswith("multi-pass/") for name in ran[0]) and len(ran[0]) == 12


@pytest.mark.parametrize("name", list(SIZES))
def test_students_of_other_sizes_have_the_students_recipe_at_another_width(name: str, lab_tokenizer: object) -> None:
    import torch

    recipe = SIZES[name]
    changed = {field for field in vars(recipe) if getattr(recipe, field) != getattr(RECIPES["student"], field)}
    assert changed <= {"hidden", "layers", "heads", "intermediate", "adam_lr"}
    with torch.device("meta"):
        model = build_model(recipe, lab_tokenizer)  # type: ignore[arg-type]
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == pytest.approx({"student-0.1m": 1e5, "student-5m": 5e6}[name], rel=0.1)
    assert shape_of(f"runs/lab/{name}/checkpoint").parameters == count


def test_the_concise_student_is_planned_with_the_shape_of_its_recipe(lab_tokenizer: object) -> None:
    import torch

    with torch.device("meta"):
        model = build_model(CONCISE_MODE["student-concise"], lab_tokenizer)  # type: ignore[arg-type]
    assert _PLANNED["runs/lab/student-concise/checkpoint"].parameters == sum(parameter.numel() for parameter in model.parameters())


def test_a_students_measured_weights_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each probe gives kernels by its own names, and a row of a size waits for that size's alone."""
    curves = {"aligned": "0:1,1:2", "aligned_size-0.1m": "0:3,1:4"}

    class Probed:
        def __init__(self, key: str) -> None:
            self.key, self.command = key, "command"

        def record(self, _: Path) -> dict[str, dict[str, str]] | None:
            return {"accuracy": {"curve": curves[self.key]}, "gram": {"curve": ""}} if self.key in curves else None

    monkeypatch.setattr("paced_exp.reproduce.curves.probes_of", lambda scale, table: [Probed(variant.key) for variant in scale.alignment])
    found = with_curves(DESK, tmp_path)
    assert found.curves == {"aligned": "0:1,1:2", "aligned-0.1m": "0:3,1:4"} and "(aligned_size-5m)" in found.waiting
    rows = {table.name: {cell.row for cell in cells_of(found, table, 1)} for table in tables_at(found)}
    assert "aligned" in rows["size-0.1m"] and "aligned" not in rows["size-5m"]
    (ours,) = (cell for cell in cells_of(found, BY_NAME["size-0.1m"], 1) if cell.row == "aligned")
    assert ours.options["curve"] == "0:3,1:4" and ours.options["student"] == SMALL


def test_smoke_has_shipped_models_in_the_places_of_those_that_are_made() -> None:
    assert not SMOKE.made and {"size-0.1m", "size-5m"} < {cell.table for cell in all_cells(SMOKE)}


def test_a_made_model_has_a_command() -> None:
    for scale in SCALES.values():
        assert all(
            isinstance(made, Made) and made.command.startswith("python -m paced_exp.lab ") and made.cost for made in scale.made.values()
        )


def test_what_is_not_declared_is_not_asked_for(tmp_path: Path) -> None:
    """Hub names and lab: models are found by their own loaders."""
    assert lacking(dataclasses.replace(DESK, made={}), all_cells(DESK, 1)) == {}
