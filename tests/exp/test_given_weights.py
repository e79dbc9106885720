"""A training by a file of weights: the same as by the method that made them, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import paced_exp as paced
from paced_exp import distill
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.data.problem_tables import write_rows
from paced_exp.training.config import DistillConfig
from tests.support.distill_setup import PROBLEMS, arguments, rows

pytestmark = pytest.mark.usefixtures("hash_grader")
IDS = [row["id"] for row in rows()]


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("counts") / "counts.jsonl"
    write_rows(path, {"problem_id": IDS, "k": [number % 5 for number in range(PROBLEMS)], "K": [4] * PROBLEMS})
    return path


def test_the_file_trains_as_the_method_that_made_it(counts: Path, models: Path, source: Path, tmp_path: Path) -> None:
    weights = paced.weights(str(counts), paced.Beta(2, 1), "plugin").save(tmp_path / "weights.csv")
    distill.main(arguments(models, source, tmp_path / "file", weights=weights))
    distill.main(arguments(models, source, tmp_path / "method", **{"pass-rates": counts, "alpha": 2, "recompute": "never"}))
    by_file, by_method = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("file", "method"))
    assert all(torch.equal(by_file[name], by_method[name]) for name in by_method)
    records = [read_json(tmp_path / name / "record.json") for name in ("file", "method")]
    assert records[0]["weights"] == pytest.approx(records[1]["weights"]) and records[0]["weights"]["dropped"] == 2 * PROBLEMS / 5
    # No rollout was needed, and pass rates are none of the record's.
    assert (
        records[0]["training"]["rollouts"] == {"prompts": 0, "responses": 0, "tokens": 0} and records[0]["segments"][0]["pass_rate"] is None
    )


def test_epochs_count_the_problems_of_positive_weight_and_stages_keep_the_weights(models: Path, source: Path, tmp_path: Path) -> None:
    write_rows(
        tmp_path / "weights.jsonl", {"problem_id": [*IDS, "another"], "weight": [float(number < 16) for number in range(PROBLEMS)] + [9.0]}
    )
    options: dict[str, Any] = {"stages": "forward_kl:0.5,reverse_kl:0.5", "epochs": 2}
    argv = arguments(models, source, tmp_path / "run", weights=tmp_path / "weights.jsonl", **options)
    place = argv.index("--steps")
    distill.main(argv[:place] + argv[place + 2 :])
    record = read_json(tmp_path / "run" / "record.json")
    assert record["training"]["updates"] == 4 and [segment["dropped"] for segment in record["segments"]] == [PROBLEMS - 16] * 2
    assert record["training"]["rollouts"]["responses"] == 2 * 8  # of the second stage's updates alone


def test_a_file_that_changes_is_another_run(counts: Path, models: Path, source: Path, tmp_path: Path) -> None:
    path = paced.weights(str(counts)).save(tmp_path / "weights.jsonl")
    argv = arguments(models, source, tmp_path / "run", weights=path)
    distill.main(argv)
    for name in ("record.json", "trained.json"):
        (tmp_path / "run" / name).unlink()
    distill.main(argv)  # killed before its record: goes on
    for name in ("record.json", "trained.json"):
        (tmp_path / "run" / name).unlink()
    path.write_text(path.read_text().replace('"weight": ', '"weight": 1'))
    with pytest.raises(UserError, match="holds a run begun before the weights changed"):
        distill.main(argv)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "cannot be read"),
        (
            {name: 1.0 for name in IDS[1:]},
            "lacks 1 of the 40 problems, for example 'sum00'; make it with the same --problems, --limit and --seed",
        ),
        (dict.fromkeys(IDS, 0.0), "gives all 40 problems the weight zero"),
        ({**dict.fromkeys(IDS, 1.0), "sum07": -1.0}, "weight = -1.0 of problem 'sum07' must be a finite number of at least 0"),
    ],
)
def test_files_that_will_not_do_are_refused_and_leave_no_folder(
    content: dict[str, float] | None, line: str, models: Path, source: Path, tmp_path: Path
) -> None:
    path = tmp_path / "weights.jsonl"
    if content is not None:
        path.write_text("".join(json.dumps({"problem_id": name, "weight": value}) + "\n" for name, value in content.items()))
    with pytest.raises(UserError, match=line) as caught:
        distill.main(arguments(models, source, tmp_path / "run", weights=path))
    assert "weights.jsonl" in str(caught.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"method": "uniform"}, "`weights` w.jsonl already determines the weights; leave out `method` uniform and its options"),
        ({"alpha": 2.0}, "leave out `method` paced and its options"),
        ({"pass_rates": "p.parquet"}, "`pass_rates` p.parquet has no effect where `weights` is given; give one"),
        ({"recompute": "2"}, "`recompute` 2 has no effect where `weights` is given"),
    ],
)
def test_options_without_effect_beside_the_file_are_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        DistillConfig(weights="w.jsonl", **options)
