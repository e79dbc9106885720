"""The plans of the larger scales: no row needs more problems than one pass has, and the script's pieces name what there is and end in time."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from paced_exp.reproduce.__main__ import main
from paced_exp.reproduce.cells import Cell, all_cells
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.probes import ALIGNMENT, FIGURE, probes_of
from paced_exp.reproduce.scales import DESK, GPU, PAPER, SCALES, Scale
from paced_exp.training.config import DistillConfig

ROOT = Path(__file__).resolve().parents[2]
LARGER = (GPU, PAPER)


def shares(scale: Scale) -> dict[tuple[str, str], float]:
    """By row of one pass: problems that its updates visit, as a share of its pool."""
    found = {}
    for cell in all_cells(scale, 1):
        config = cell.config
        if isinstance(config, DistillConfig) and config.regime == "one-pass":
            assert config.steps is not None and config.limit is not None
            found[cell.table, cell.row] = config.steps * config.batch / config.limit
    return found


@pytest.mark.parametrize("scale", LARGER, ids=lambda scale: scale.name)
def test_rows_of_one_pass_take_no_larger_share_of_the_pool_than_at_the_desk(scale: Scale) -> None:
    """There they have run: a plug-in weight finds enough problems that are neither always nor never solved."""
    desk, ours = shares(DESK), shares(scale)
    assert len(ours) > 30 and max(ours.values()) <= 1
    assert not {row: (share, desk[row]) for row, share in ours.items() if share > desk[row] + 1e-9}


@pytest.mark.parametrize("scale", LARGER, ids=lambda scale: scale.name)
def test_larger_scales_follow_the_second_protocol(scale: Scale) -> None:
    assert scale.protocol == 2 and scale.first_seed == 100 and {"distillation", "self-distillation", "llama"} == set(scale.setups)
    assert [probe.key for probe in probes_of(scale, FIGURE)] == [probe.key for probe in probes_of(DESK, FIGURE)]
    # The desk's others are of students of other sizes.
    assert [probe.key for probe in probes_of(scale, ALIGNMENT)] == [probe.key for probe in probes_of(DESK, ALIGNMENT)][:2]
    # What measures the kernels is not what evaluates them, or is drawn with another seed.
    for probe in probes_of(scale, ALIGNMENT):
        held_out = set(probe.config.accuracy_problems.split(","))
        assert not held_out & set(scale.sources) or (probe.config.seed != 0 and all(name.startswith("lab:") for name in held_out))


@pytest.mark.parametrize("scale", LARGER, ids=lambda scale: scale.name)
def test_the_plan_prints_every_cell_with_hours_and_memory(scale: Scale, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ("--results", str(tmp_path / "results"), "--work", str(tmp_path / "work"))
    assert main(["--all", "--scale", scale.name, "--dry-run", *folders]) == 0
    text = capsys.readouterr().out
    cells = all_cells(scale_named(scale.name, tmp_path))
    assert all(re.search(rf"\d+ GB  {re.escape(cell.name)}$", text, re.MULTILINE) for cell in cells)
    hours = re.search(rf"{len(cells)} cells and 4 probes to run, .* about ([\d.]+) GPU hours", text)
    assert hours is not None and 1 < float(hours[1]) < 2000 and "wait for the probe that measures them" in text
    assert not list(tmp_path.iterdir())


def test_measured_kernels_have_rows_once_they_are_there() -> None:
    """What the plan leaves out before the probe: the rows `aligned` and `fitted`, at every scale that has the probe."""
    for scale in (GPU, PAPER):
        with_kernels = {cell.row for cell in _cells_with_kernels(scale)}
        assert with_kernels - {cell.row for cell in all_cells(scale, 1)} == {"aligned", "aligned-short", "fitted"}


def _cells_with_kernels(scale: Scale) -> list[Cell]:
    from dataclasses import replace

    return all_cells(replace(scale, curves={"aligned": "0:0,0.5:2,1:0", "fitted": "0:1,1:1"}), 1)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """runs/gpu.sh in a folder of its own, with a python that writes down what it is asked to do, and does nothing."""
    (tmp_path / "runs").mkdir()
    shutil.copy(ROOT / "runs" / "gpu.sh", tmp_path / "runs" / "gpu.sh")
    python = tmp_path / "python"
    python.write_text(f'#!/usr/bin/env bash\necho "$@" >> {tmp_path}/asked\nsleep "${{NAP:-0}}"\nexit "${{STATUS:-0}}"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script, with the python that only writes down."""
    own = {**os.environ, "PY": str(folder / "python"), **environment}
    return subprocess.run(["bash", "runs/gpu.sh"], cwd=folder, env=own, capture_output=True, text=True, check=False)


def test_the_script_asks_for_what_there_is_in_an_order_that_works(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(copied)
    assert done.returncode == 0 and done.stdout.endswith("all done\n")
    asked = [line.split() for line in (copied / "asked").read_text().splitlines()]
    modules = [words[1] for words in asked]
    assert modules[:3] == ["paced_exp.lab", "paced_exp.lab", "paced_exp.reproduce.learning_rates"]
    tables = [words[words.index("--table") + 1 :: 2] for words in asked if words[1] == "paced_exp.reproduce"]
    assert tables[0] == ["alignment"] and tables[1] == ["one-pass", "one-pass-short"]
    # Models are pretrained before what reads them: Llama's behind the main tables.
    pretrained = [words[3] for words in asked if words[1] == "paced_exp.lab"]
    assert pretrained == ["gpu-teacher", "gpu-student", "gpu-teacher-llama", "gpu-student-llama"]
    assert modules.index("paced_exp.reproduce") < len(modules) - 1 - modules[::-1].index("paced_exp.lab")
    for words in asked:
        if words[1] == "paced_exp.reproduce":
            assert main([*words[2:], "--dry-run", "--results", str(copied / "results"), "--work", str(copied / "work")]) == 0
            assert "cells" in (text := capsys.readouterr().out) or "probes" in text


def test_a_piece_ends_in_time_and_the_next_goes_on(copied: Path) -> None:
    """A stage that is cut off, and one for which no time is left, end the piece with status 3; a failure is told from both."""
    assert run(copied, MINUTES="0").returncode == 3 and not (copied / "asked").exists()
    text = (copied / "runs" / "gpu.sh").read_text().replace("MINUTES * 60", "MINUTES * 22")
    (copied / "runs" / "gpu.sh").write_text(text)
    cut = run(copied, MINUTES="1", NAP="60")
    assert cut.returncode == 3 and "time is up in:" in cut.stdout
    assert run(copied, STATUS="2").returncode == 2
    (copied / "runs" / "gpu-scale" / "teacher").mkdir(parents=True)
    (copied / "runs" / "gpu-scale" / "teacher" / "record.json").write_text("{}")
    (copied / "asked").unlink()
    assert run(copied).returncode == 0 and "gpu-teacher " not in (copied / "asked").read_text()


def test_only_known_scales_are_named_by_the_scripts() -> None:
    for name in ("gpu.sh", "paper.sh"):
        named = set(re.findall(r"--scale (\S+)", (ROOT / "runs" / name).read_text()))
        assert named <= set(SCALES), named
