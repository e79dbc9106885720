"""`snr_probe --at-steps`: the student before an update is the one that training alone would give, and both panels are drawn."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import paced_exp.distill as distill
from paced_exp import snr_probe
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.grading import grader as grading
from paced_exp.probe.at_steps import parse_steps
from tests.support.graders import HashGrader
from tests.support.probe_setup import arguments, comparable, record_of

pytestmark = pytest.mark.usefixtures("hash_grader")

TRAINING = '{"batch": 8, "micro_batch": 4, "learning_rate": 0.01, "warmup": 0, "teacher_statistics": "live"}'
STEPS = {"at-steps": "1,3", "method": "hard_filter", "training": TRAINING}


@pytest.fixture(scope="module")
def twice(models: Path, problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("at_steps") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "Grader", HashGrader)
        snr_probe.main(arguments(models, problems, out, **STEPS))
    return out


def test_the_first_panel_is_the_plain_probe_and_the_second_another(twice: Path, whole: Path) -> None:
    first, second = record_of(twice)["steps"]
    assert (first.pop("step"), second.pop("step")) == (1, 3)
    assert first["bins"] == record_of(whole)["bins"] and first["verdict"] == record_of(whole)["verdict"]
    assert comparable(twice / "step-000001")["bins"] == comparable(whole)["bins"]
    assert [row["snr_squared"] for row in second["bins"]] != [row["snr_squared"] for row in first["bins"]]
    assert second["config"]["student"] == str(twice / "training-000002" / "model")


def test_the_student_before_update_three_has_made_two_updates_of_the_given_method(
    twice: Path, models: Path, problems: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "student": models / "student",
        "teacher": models / "teacher",
        "problems": problems,
        "steps": 2,
        "method": "hard_filter",
        "schedule": "constant",
        "stages": "forward_kl@references",
        "evaluate": "none",
        "out": tmp_path / "alone",
    }
    probe = read_json(twice / "record.json")["config"]
    options |= {
        name.replace("_", "-"): probe[name] for name in ("K", "temperature", "max_new_tokens", "candidates", "device", "dtype", "seed")
    }
    options |= {"batch": 8, "micro-batch": 4, "learning-rate": 0.01, "warmup": 0, "teacher-statistics": "live", "loss": probe["loss"]}
    distill.main([f"--{name}={value}" for name, value in options.items()])
    alone, ours = (load_file(folder / "model" / "model.safetensors") for folder in (tmp_path / "alone", twice / "training-000002"))
    before = load_file(models / "student" / "model.safetensors")
    assert all((alone[name] == ours[name]).all() for name in alone) and any((before[name] != ours[name]).any() for name in ours)
    (trained,) = record_of(twice)["training"]
    assert trained["updates"] == trained["training"]["updates"] == 2 and trained["config"]["method"] == "hard_filter"


def test_both_panels_and_both_tables(twice: Path, models: Path, problems: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (twice / "record.json").read_bytes()
    snr_probe.main(arguments(models, problems, twice, **STEPS))
    printed = capsys.readouterr().out
    assert printed.index("before update 1:") < printed.index("before update 3:")
    assert (twice / "record.json").read_bytes() == before
    caption = (twice / "snr_curve.txt").read_text()
    assert "Before update 1: The bin k = 0" in caption and "Before update 3: The bin k = 0" in caption and "hard_filter weights" in caption
    assert (twice / "snr_curve.pdf").stat().st_size > 0


@pytest.mark.parametrize("missing", ["training-000002/trained.json", "step-000003/record.json"])
def test_a_run_that_was_stopped_goes_on(missing: str, twice: Path, models: Path, problems: Path) -> None:
    before = record_of(twice)["steps"][1]["bins"]
    for name in ("record.json", "training-000002/record.json", missing):
        (twice / name).unlink(missing_ok=True)
    snr_probe.main(arguments(models, problems, twice, **STEPS))
    assert record_of(twice)["steps"][1]["bins"] == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at-steps": "20,1"}, "--at-steps 20,1 must be ascending whole numbers of at least 1"),
        ({"at-steps": "0,2"}, "--at-steps 0,2 must be"),
        ({"at-steps": "1,x"}, "--at-steps 1,x must be"),
        ({"method": "uniform"}, "give --at-steps beyond 1, such as --at-steps 1,20"),
        ({"at-steps": "1,2", "method": "pace"}, "--method pace is not known"),
        ({"at-steps": "1,2", "training": '{"seed": 3}'}, "--training may not set 'seed': the probe decides it"),
        ({"at-steps": "1,2", "training": '{"no_such": 3}'}, "--training may not set 'no_such': paced_exp.distill has no such option"),
        ({"at-steps": "1,2", "training": '{"learning_rate": -1}'}, "`learning_rate` -1 must be positive"),
        ({"at-steps": "1,2", "teacher": "no such model!"}, "is no folder and cannot be a hub id"),
    ],
)
def test_bad_options_are_refused_and_leave_no_folder(
    options: dict[str, str], message: str, models: Path, problems: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        snr_probe.main(arguments(models, problems, tmp_path / "out", **options))
    assert message in str(caught.value) and not (tmp_path / "out").exists()


def test_steps_are_parsed() -> None:
    assert parse_steps("1, 20") == [1, 20] and parse_steps("7") == [7]
