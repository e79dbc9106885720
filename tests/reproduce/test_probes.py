"""The probes as part of the grids: declared once a scale, run once, killed at no loss, refused where a record has other options."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json, write_checked, write_json
from paced_exp.data.lab.splits import SPLITS
from paced_exp.probe.run import run_probe
from paced_exp.reproduce.__main__ import main
from paced_exp.reproduce.budget import cost_of
from paced_exp.reproduce.c1 import DECIDING, PROBE_STEPS, probe_findings, probe_records
from paced_exp.reproduce.cells import cell_of
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.probes import PROBE_TABLES, ROBUSTNESS, probes_of
from paced_exp.reproduce.run_cell import run_task
from paced_exp.reproduce.scales import DESK_V1, SCALES, Scale
from paced_exp.training.config import DistillConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ran(scale: Scale, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the tiny scale's probe."""
    folder = tmp_path_factory.mktemp("probed")
    (probe,) = probes_of(scale)
    run_task(probe, folder / "results", folder / "work", False)
    return folder


def test_record_and_figure_are_in_the_results_and_nothing_is_left(scale: Scale, ran: Path) -> None:
    (probe,) = probes_of(scale)
    there = {path.name for path in probe.folder(ran / "results").iterdir()}
    assert there == {"record.json", *(f"{name}.{kind}" for name in ("gram", "snr_curve") for kind in ("pdf", "png", "svg", "txt"))}
    assert probe.record(ran / "results") is not None and not [path for path in (ran / "work").rglob("*") if path.is_file()]


def test_it_is_what_the_probe_alone_gives(scale: Scale, ran: Path, tmp_path: Path) -> None:
    """The panel before update 1 is the plain probe of the student; the one before update 3 follows two updates of the scale's training."""
    (probe,) = probes_of(scale)
    first, third = read_json(probe.folder(ran / "results") / "record.json")["steps"]
    options = {**configs.as_dict(probe.config), "at_steps": "1", "training": None, "out": str(tmp_path / "alone")}
    alone = run_probe(type(probe.config)(**options))
    assert first["bins"] == alone["bins"] and first["verdict"] == alone["verdict"]
    assert (first["step"], third["step"]) == (1, 3)
    cell = cell_of(scale, BY_NAME["distillation"], BY_NAME["distillation"].row("paced"), 0).config
    training = read_json(probe.folder(ran / "results") / "record.json")["training"][0]["config"]
    assert isinstance(cell, DistillConfig)
    for name in ("student", "teacher", "batch", "micro_batch", "warmup", "rollout_every", "learning_rate", "max_new_tokens"):
        assert training[name] == getattr(cell, name), name


def test_what_is_done_is_not_run_again(scale: Scale, ran: Path, tmp_path: Path) -> None:
    argv = ["--scale", "tiny", "--table", "figure2", "--results", str(ran / "results"), "--work", str(tmp_path / "work")]
    before = (ran / "results" / "tiny" / "snr_probe" / "record.json").stat().st_mtime_ns
    assert main(argv) == 0 and not (tmp_path / "work").exists()
    (probe,) = probes_of(scale)
    run_task(probe, ran / "results", tmp_path / "work", False)
    assert (ran / "results" / "tiny" / "snr_probe" / "record.json").stat().st_mtime_ns == before


def test_a_record_of_other_options_or_of_something_else_is_refused(scale: Scale, ran: Path, tmp_path: Path) -> None:
    (probe,) = probes_of(scale)
    record = read_json(probe.folder(ran / "results") / "record.json")
    path = probe.folder(tmp_path) / "record.json"
    for name in ("out", "device"):  # where and how, not what
        write_checked(path, {**record, "config": {**record["config"], name: "elsewhere"}})
        assert probe.record(tmp_path) is not None
    write_checked(path, {**record, "config": {**record["config"], "per_bin": 4}})
    with pytest.raises(
        UserError, match=r"record\.json was made with other options .*per_bin \(4 there, 3 now\); delete it and run: .*--table figure2"
    ):
        probe.record(tmp_path)
    damaged = [
        {"kind": "cell"},
        [],
        {**record, "steps": 5},
        {**record, "steps": [{**record["steps"][0], "verdict": {}}]},
        {**record, "steps": [record["steps"][0], None]},
    ]
    for content in damaged:
        write_json(path, content)
        with pytest.raises(UserError, match=r"record\.json is no record of a probe, or damaged"):
            probe.record(tmp_path)


def flip_verdict(panel: dict[str, Any]) -> None:
    end = panel["verdict"]["low"]
    end["difference"] = 1.0 if end["difference"] is None else -end["difference"]


IMPOSSIBLE = [
    (flip_verdict, "follows from its bins"),
    (lambda panel: panel["bins"][0].update(n=10**6), "n must be a whole number, 2 or more, of no fewer"),
    (lambda panel: panel["bins"][0].update(snr_squared=9.0), "a finite SNR² within its interval"),
    (lambda panel: panel["bins"][0].update(snr_squared=None), "a finite SNR² within its interval"),
    (lambda panel: panel["bins"].reverse(), "a pass rate from 0 to 1 above that of the bin before"),
    (lambda panel: panel["bins"].append([]), "a pass rate from 0 to 1"),
    (lambda panel: panel.pop("step"), "step None must be the number of an update"),
]


@pytest.mark.parametrize(("change", "message"), IMPOSSIBLE)
def test_numbers_that_cannot_be_are_refused_whatever_their_checksum(
    scale: Scale, ran: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    (probe,) = probes_of(scale)
    record = read_json(probe.path(ran / "results"))
    assert probe.record(ran / "results") == record
    change(record["steps"][1])
    write_json(probe.path(tmp_path), record)
    with pytest.raises(UserError, match="does not match its checksum"):
        probe.record(tmp_path)
    write_checked(probe.path(tmp_path), record)
    with pytest.raises(UserError, match=message):
        probe.record(tmp_path)


def test_the_committed_records_are_those_that_the_desk_declares() -> None:
    declared, others = probes_of(DESK_V1), probes_of(DESK_V1, ROBUSTNESS)
    assert all(probe.record(ROOT / "results") is not None for probe in declared + others)
    assert {probe.path(ROOT / "results").parent.name for probe in others} == {"reverse-kl", "cross-entropy", "last-layer", "sum", "k40"}
    assert {probe.command for probe in others} == {"python -m paced_exp.reproduce --scale desk-v1 --table robustness"}
    assert set(DECIDING) <= {probe.key for probe in declared}
    assert set(PROBE_STEPS) <= set(probe_records(ROOT / "results", DESK_V1))
    assert {finding.command for finding in probe_findings(ROOT / "results", DESK_V1)} == {declared[0].command}


@pytest.mark.parametrize("name", [name for name in SCALES if name != "tiny"])
def test_every_scale_probes_its_own_pair_with_its_own_training(name: str) -> None:
    scale = SCALES[name]
    for probe in probes_of(scale):
        setup = scale.setups["llama" if probe.key.endswith("llama") else "distillation"]
        # The pool of the second protocol ends, and ranges down to 0.01 need more problems than it has.
        larger = {"desk": "lab:train", "desk-v1": "lab:train", "gpu": "lab:harder-train"}.get(scale.name, scale.problems)
        source = larger if probe.config.fresh_rollouts else scale.problems
        assert (probe.config.student, probe.config.teacher, probe.config.problems) == (setup.student, setup.teacher, source)
        assert probe.config.max_new_tokens == scale.shared["max_new_tokens"]
        if probe.config.at_steps != "1":
            trained = {**configs.defaults(DistillConfig), **(probe.config.training or {})}
            assert trained["learning_rate"] == setup.learning_rate and trained["batch"] == scale.shared["batch"]
        assert cost_of(probe, scale).seconds(scale) > 0


@pytest.mark.parametrize("name", SCALES)
def test_no_probe_asks_for_more_problems_than_its_source_has(name: str) -> None:
    """A split with quotas ends, and the probe's rarest bins would quietly stay as they are."""
    for table in PROBE_TABLES:
        for probe in probes_of(SCALES[name], table):
            split = SPLITS.get(probe.config.problems.removeprefix("lab:"))
            if split is not None and split.quotas is not None:
                assert probe.config.max_problems <= split.size, probe.key


def test_the_loss_is_in_no_key_and_that_which_made_the_records_is_pinned(scale: Scale, ran: Path, tmp_path: Path) -> None:
    """So runs from before there was a choice are found. Fused and dense differ by rounding; larger scales have no records."""
    before = {
        "desk": {
            "snr_ranges/qwen3": "6b01300330",
            "snr_ranges/llama": "3cd6563b01",
            "aligned": "426a7cfd98",
            "aligned_later": "b22f438ff7",
        },
        "desk-v1": {"snr_probe": "2b08961544", "snr_verdict/qwen3": "9e62770d63", "snr_robustness/k40": "db58b75cc9"},
    }
    for name, digests in before.items():
        probes = {probe.key: probe for table in PROBE_TABLES for probe in probes_of(SCALES[name], table)}
        assert {probe.config.loss for probe in probes.values()} == {"dense"}
        for key, digest in digests.items():
            assert probes[key].work_folder(tmp_path).name == f"{key.replace('/', '--')}-{digest}"
    assert {probe.config.loss for probe in probes_of(SCALES["paper"])} == {"fused"}
    (probe,) = probes_of(scale)
    other = dataclasses.replace(probe, config=dataclasses.replace(probe.config, loss="fused", checkpointing=True))
    assert other.work_folder(tmp_path) == probe.work_folder(tmp_path)
    assert other.record(ran / "results") == probe.record(ran / "results")


def test_fresh_rollouts_are_part_of_the_cost() -> None:
    """Of the problems screened six in ten are at an end, and rolled out again at most; ten ranges are filled in place of eleven bins."""
    plain = probes_of(DESK_V1)[0]
    with_fresh = [
        cost_of(dataclasses.replace(plain, config=dataclasses.replace(plain.config, fresh_rollouts=f)), DESK_V1) for f in (100, 200)
    ]
    without = cost_of(plain, DESK_V1)
    ratio = (with_fresh[1].sampling - without.sampling) / (with_fresh[0].sampling - without.sampling)
    assert ratio == pytest.approx(2, abs=0.1) and with_fresh[0].sampling > 5 * without.sampling
    assert with_fresh[0].training == pytest.approx(without.training * 10 / plain.config.bins)


def test_a_dry_run_and_the_list_name_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "--scale",
        "desk-v1",
        "--table",
        "figure2",
        "--table",
        "kernels",
        "--seeds",
        "1",
        "--dry-run",
        "--results",
        str(tmp_path),
        "--work",
        str(tmp_path),
    ]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "5 cells and 3 probes to run" in text and "probe snr_verdict/llama" in text
    assert main(["--list"]) == 0
    assert "figure2: gradient SNR against the pass rate" in capsys.readouterr().out
    assert json.dumps(sorted(variant.key for variant in SCALES["desk-v1"].probes)) == json.dumps(
        sorted(probe.key for probe in probes_of(DESK_V1))
    )


def test_the_probes_of_robustness_are_a_table_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--dry-run", "--results", str(tmp_path), "--work", str(tmp_path)]
    assert main(["--table", "robustness", "--scale", "desk-v1", *argv]) == 0
    text = capsys.readouterr().out
    assert "5 probes to run" in text and "probe snr_robustness/k40" in text and "snr_verdict" not in text
    assert main(["--table", "robustness", "--scale", "smoke", *argv]) == 0
    assert capsys.readouterr().out == "smoke scale declares no probes of robustness: nothing to run\n"
