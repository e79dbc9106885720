"""The choice of rate and updates: one record a pair, the best first, nothing made twice; every pair on the unweighted baseline."""

import json
from pathlib import Path
from typing import Any

import pytest

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json, write_checked, write_json
from paced_exp.training import selection
from paced_exp.training.select_rate import select
from paced_exp.training.selection_grid import SelectionConfig, finished
from tests.support.distill_setup import save_models, write_problems

pytestmark = pytest.mark.usefixtures("hash_grader")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = save_models(tmp_path_factory.mktemp("models"))
    source = str(write_problems(folder / "sums.jsonl"))
    small = {"batch": 8, "micro_batch": 4, "max_new_tokens": 12, "warmup": 0, "rollout_every": 1, "device": "cpu"}
    return {"student": str(folder / "student"), "problems": source, "evaluate": source, **small}


@pytest.mark.parametrize("setting", ["distillation", "self-distillation"])
def test_every_pair_is_trained_once_and_the_best_comes_first(
    setting: str, options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    further = options | ({"teacher": options["student"].replace("student", "teacher")} if setting == "distillation" else {})
    argv = [f"--setting={setting}", "--rates=[0.1, 0.001]", "--steps=[2]", f"--training={json.dumps(further)}"]
    argv += [f"--out={tmp_path / 'runs'}", f"--records={tmp_path / 'records'}"]
    selection.main(argv)
    lines = capsys.readouterr().out.splitlines()
    records = [read_json(path) for path in (tmp_path / "records").glob("*.json")]
    records.sort(key=lambda record: -record["mean_of_tiers"])
    assert [record["learning_rate"] for record in records] == [float(line.split()[1]) for line in lines]
    assert sorted(record["learning_rate"] for record in records) == [0.001, 0.1]
    for record in records:
        assert (record["config"]["method"], record["config"]["seed"], record["training"]["updates"]) == ("uniform", 100, 2)
        assert record["mean_of_tiers"] == pytest.approx(record["accuracy"][options["problems"]])
        assert record["config"]["references"] == (str(tmp_path / "runs" / "references") if setting == "distillation" else None)
    monkeypatch.setattr("paced_exp.training.select_rate.distill", None)  # what has a record is not made again
    selection.main(argv)
    assert capsys.readouterr().out.splitlines() == lines


WRONG = [
    ({"mean_of_tiers": 0.9}, r"mean_of_tiers 0\.9 is not the mean accuracy without retention, 0\.5"),
    ({"mean_of_tiers": "0.5"}, "is not the mean accuracy without retention"),
    ({"accuracy": {"lab:mid": 1.5, "lab:retention": 0.9}}, "accuracy must be shares from 0 to 1"),
    ({"accuracy": [0.5]}, "accuracy must be shares"),
    ({"accuracy": {"lab:retention": 0.9}}, "accuracy has no source but retention"),
    ({"learning_rate": 0.1}, "it is the record of rate 0.1 and 200 updates, but its name says otherwise"),
    ({"kind": "cell"}, "no record of kind 'selection'"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_record_that_cannot_be_decides_nothing(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    config = SelectionConfig(records=str(tmp_path))
    path = tmp_path / f"{config.name(1e-3, 200)}.json"
    whole = {
        "kind": "selection",
        "learning_rate": 1e-3,
        "steps": 200,
        "accuracy": {"lab:mid": 0.5, "lab:retention": 0.9},
        "mean_of_tiers": 0.5,
    }
    write_checked(path, whole)
    assert [record["learning_rate"] for record in finished(config)] == [1e-3]
    write_checked(path, whole | change)
    with pytest.raises(UserError, match=message) as caught:
        finished(config)
    assert str(path) in str(caught.value)
    write_json(path, whole)
    with pytest.raises(UserError, match="has no checksum"):
        finished(config)


@pytest.mark.parametrize(("setting", "steps"), [("distillation", 200), ("self-distillation", 100)])
def test_the_committed_records_are_whole(setting: Any, steps: int) -> None:
    assert (
        len(finished(SelectionConfig(setting=setting, steps=(steps,), records=str(ROOT / "results" / "desk-v1" / "distill" / "selection"))))
        >= 3
    )


def test_other_options_have_records_of_their_own() -> None:
    plain = SelectionConfig()
    names = {plain.name(1e-3, 200), SelectionConfig(samples=4).name(1e-3, 200), SelectionConfig(training={"batch": 16}).name(1e-3, 200)}
    assert "distillation-lr0.001-steps200-seed100" in names and len(names) == 3


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`setting` rl is not known; known: distillation, self-distillation"):
        SelectionConfig(setting="rl")
    with pytest.raises(UserError, match="`rates` and `steps` need at least one value each"):
        SelectionConfig(rates=())
    with pytest.raises(UserError, match="`rates` -1 must be positive and finite"):
        SelectionConfig(rates=(1e-3, -1))
    with pytest.raises(UserError, match="`steps` 0 must be positive and finite"):
        SelectionConfig(steps=(0,))
    with pytest.raises(UserError, match="`training` may not set 'method'"):
        select(SelectionConfig(training={"method": "paced"}, out=str(tmp_path)))
