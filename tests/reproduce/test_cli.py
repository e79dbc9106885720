"""The command: lists, plans without running, skips what is done, refuses nonsense in one line."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paced_exp.core.errors import UserError
from paced_exp.models.shapes import PUBLISHED
from paced_exp.reproduce import run_grid
from paced_exp.reproduce.__main__ import main
from paced_exp.reproduce.architectures import shape_of
from paced_exp.reproduce.budget import correction, cost_of, memory_bytes
from paced_exp.reproduce.cells import all_cells, cells_of
from paced_exp.reproduce.grids import BY_NAME, tables_of
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK_V1, PAPER, SCALES
from paced_exp.reproduce.scheduler import Task
from tests.support.synthetic import write_base, write_row

FIRST = ("--scale", "desk-v1")


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main([*argv, *([] if "--scale" in argv else FIRST)]) == 0
    return capsys.readouterr().out


def test_the_list_has_every_table_and_row(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--list")
    for table in tables_of(1):
        assert f"{table.number:>2} {table.name}: {table.title}" in text
        assert all(f"      {row.name:<24} {row.label}" in text for row in table.rows)
    assert f"{len(all_cells(DESK_V1))} cells at desk-v1 scale" in text


def test_a_dry_run_counts_what_is_left_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_row(tmp_path / "results", "distillation", "paced", 0.5, seeds=2)
    write_base(tmp_path / "results", 0.4)
    before = sorted(tmp_path.rglob("*"))
    text = said(
        capsys, "--table", "1", "--seeds", "2", "--dry-run", "--results", str(tmp_path / "results"), "--work", str(tmp_path / "work")
    )
    assert "8 cells to run, 3 have their records" in text and "distillation/uniform-s1" in text and "distillation/paced-s0" not in text
    assert "references-s0" in text and "pass-rates-k8-s1" in text
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_done_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for row in BY_NAME["kernels"].rows:
        cell = cells_of(DESK_V1, BY_NAME["kernels"], 1)
        home = next(c for c in cell if c.row == row.name or (c.table == "distillation" and c.row == row.name))
        write_row(tmp_path / "results", home.table, home.row, 0.5, seeds=1)
    text = said(capsys, "--table", "kernels", "--seeds", "1", "--results", str(tmp_path / "results"), "--work", str(tmp_path / "work"))
    assert text == f"all 5 cells have their records under {tmp_path / 'results' / 'desk-v1'}\n" and not (tmp_path / "work").exists()


def test_a_folder_of_runs_is_the_same_however_it_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spelt: list[Path] = []
    monkeypatch.setattr(run_grid, "run_plan", lambda plan, results, work, **_: spelt.append(work) or True)
    monkeypatch.chdir(tmp_path)
    for work in ("runs/here", "./runs/../runs/here", str(tmp_path / "runs" / "here")):
        main(["--table", "1", *FIRST, "--seeds", "1", "--results", str(tmp_path / "results"), "--work", work])
    assert spelt == [Path("runs/here")] * 3


def test_a_damaged_record_stops_the_command_before_anything_runs(tmp_path: Path) -> None:
    write_row(tmp_path, "distillation", "paced", 0.5, seeds=1)
    path = tmp_path / "desk-v1" / "distillation" / "paced-s0.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1', 1))
    with pytest.raises(UserError, match=r"paced-s0\.json is damaged"):
        main(["--table", "1", *FIRST, "--results", str(tmp_path), "--work", str(tmp_path / "work")])
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "give one of --list, --table and --all, and not several"),
        (["--table", "nine"], "--table nine is not known; known: 1 distillation, 2 self-distillation"),
        (
            ["--table", "1", "--scale", "desk"],
            "--table 1 is not run at desk scale; it is a table of: desk-v1; give one of these as --scale",
        ),
        (["--all", "--scale", "moon"], "--scale moon is not known; known: desk, desk-v1, smollm2, gpu, paper, smoke"),
        (["--all", "--seeds", "0"], "--seeds 0 must be at least 1"),
        (["--all", "--seeds", "21"], "--seeds 21 must be at most 20: tables read no more"),
        (["--all", "--jobs", "-1"], "--jobs -1 must be at least 1"),
        (["--all", "--minutes", "0"], "--minutes 0.0 must be positive and finite"),
        (["--all", "--seeds", "two"], "option --seeds: "),
        (["--all", "--table", "1"], "give one of --list, --table and --all, and not several"),
    ],
)
def test_nonsense_is_refused_in_one_line(argv: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        main(argv)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for results, work, option in (("file", "work", "--results"), ("results", "file/work", "--work")):
        with pytest.raises(UserError, match=f"{option} .* cannot be written"):
            main(["--table", "1", *FIRST, "--seeds", "1", "--results", str(tmp_path / results), "--work", str(tmp_path / work)])
    assert not (tmp_path / "work").exists()


def test_the_table_without_cells_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--table", "6") == "table 6 is generated from the configurations by make tables: nothing to run\n"


def test_many_jobs_are_no_faster_than_the_longest_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--table", "1", "--dry-run", "--results", str(tmp_path), "--work", str(tmp_path))
    promised = [re.search(r"about (.*) with --jobs", said(capsys, *options, "--jobs", jobs)) for jobs in ("1000", "1")]
    longest = re.search(r"^ *([\d.]+ \w+)  distillation/paced-posterior-s0$", said(capsys, *options), re.MULTILINE)
    assert promised[0] is not None and promised[1] is not None and longest is not None
    assert promised[0][1] == longest[1] != promised[1][1]


def test_the_command_exits_with_status_2() -> None:
    done = subprocess.run([sys.executable, "-m", "paced_exp.reproduce", "--table", "nine"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("error: --table nine") and not done.stdout


def test_the_scripts_of_the_larger_scales_run(tmp_path: Path) -> None:
    """paper.sh plans; gpu.sh begins with pretraining, which asks for a GPU. In a copy, where gpu.sh has nothing to resume."""
    root = Path(__file__).resolve().parents[2]
    for name in ("runs/gpu.sh", "runs/paper.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    environment = {**os.environ, "PY": sys.executable, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    planned = run("runs/paper.sh")
    assert planned.returncode == 0 and "16 cells to run" in planned.stdout and "GPU hours" in planned.stdout
    refused = run("runs/gpu.sh")
    assert refused.returncode == 2 and "--device cuda is not there" in refused.stderr and "lab pretrain gpu-teacher" in refused.stdout


def test_the_grids_run_without_what_the_gpu_script_does_not_ask_for(tmp_path: Path) -> None:
    """A GPU machine has torch and its usual company, and what runs/gpu.sh names besides; symbolic grading and the hub need more."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nfor name in ('math_verify', 'datasets', 'trl', 'opacus', 'hypothesis', 'vllm'):\n    sys.modules[name] = None\n"
    )
    root = Path(__file__).resolve().parents[2]
    modules = "lab.pretrain data.lab.families reproduce.learning_rates reproduce.run_cell training.run training.selection evaluate rollout snr_probe probe.measurement"
    program = f"import importlib\nfor name in {modules.split()}: importlib.import_module('paced_exp.' + name)\n"
    program += "from paced_exp.reproduce.__main__ import main\nmain(['--all', '--scale', 'gpu', '--dry-run'])"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "probe snr_ranges/qwen3" in done.stdout, done.stderr


def test_parameters_are_the_published_totals() -> None:
    """Billions, from the models' cards and weight files."""
    totals = {
        "Qwen/Qwen3-1.7B": 1_720_574_976,
        "Qwen/Qwen3-8B": 8_190_735_360,
        "Qwen/Qwen2.5-Math-7B-Instruct": 7_615_616_512,
        "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
        "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    }
    assert {shape_of(name).parameters for name in ("smollm2-student", "smollm2-teacher")} == {134_515_008}
    assert {name: shape.parameters for name, shape in PUBLISHED.items()} == totals
    assert shape_of("Qwen/Qwen3-1.7B").matmul_parameters == totals["Qwen/Qwen3-1.7B"]
    assert shape_of("Qwen/Qwen3-8B").matmul_parameters == totals["Qwen/Qwen3-8B"] - 151_936 * 4096


def test_parameters_planned_for_the_gpu_scale_are_those_of_its_recipe(lab_tokenizer: Any) -> None:
    import torch

    from paced_exp.lab.recipes import GPU_SCALE, build_model

    with torch.device("meta"):
        model = build_model(GPU_SCALE["gpu-student"], lab_tokenizer)
    assert shape_of("runs/not-pretrained-yet").parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["lab:student", "lab:teacher", "lab:student-llama"])
def test_parameters_of_a_checkpoint_are_what_its_file_holds(name: str) -> None:
    from paced_exp.models.loading import load_model

    model = load_model(name, device="cpu", dtype="float32").model
    assert shape_of(name).parameters == sum(parameter.numel() for parameter in model.parameters())


def test_every_cell_of_every_scale_has_a_cost() -> None:
    for scale in SCALES.values():
        for cell in all_cells(scale, 1):
            assert cost_of(cell, scale).seconds(scale) > 0 and memory_bytes(cell) > 0


def test_paper_scale_prints_gpu_hours_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--table", "one-pass", "--scale", "paper", "--seeds", "1", "--dry-run")
    hours = re.search(r"about ([\d.]+) GPU hours", text)
    assert hours is not None and float(hours[1]) > 1
    assert re.search(r"\d+ GB  one-pass/paced-s100", text) and "not published" in text
    self_distilled = next(cell for cell in cells_of(PAPER, BY_NAME["self-one-pass"], 1) if cell.row == "paced")
    # Student and optimiser alone: sixteen bytes a parameter.
    assert memory_bytes(self_distilled) > 18 * 7.6e9


def test_estimates_learn_from_what_was_measured(tmp_path: Path) -> None:
    cells = [cell for cell in cells_of(DESK_V1, BY_NAME["distillation"]) if cell.row == "paced"]
    assert correction(DESK_V1, cells, Results(tmp_path)) == 1.0
    write_row(tmp_path, "distillation", "paced", 0.5)
    expected = (2 + 2**2 + 1) / cost_of(cells[0], DESK_V1).seconds(DESK_V1)  # the median seed: 2
    assert correction(DESK_V1, cells, Results(tmp_path)) == pytest.approx(expected)


def test_cells_keep_their_order_and_shared_work_comes_just_before_its_first_user(tmp_path: Path) -> None:
    def task(name: str, *after: str) -> Task:
        return Task(name, print, 1.0, tmp_path / "log", after)

    listed = [
        task("rollouts"),
        task("references"),
        task("free"),
        task("a", "references"),
        task("b", "rollouts", "references"),
        task("last"),
    ]
    names = [task.name for task in run_grid._interleaved(listed)]
    assert names == ["free", "references", "a", "rollouts", "b", "last"]


def test_jobs_follow_the_machine() -> None:
    assert run_grid.default_jobs(PAPER) == 1 and run_grid.default_jobs(DESK_V1) >= 1


@pytest.mark.parametrize(("seconds", "text"), [(42, "42 s"), (450, "7.5 min"), (11_160, "3.1 h")])
def test_durations(seconds: float, text: str) -> None:
    assert run_grid.duration(seconds) == text
