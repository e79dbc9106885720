"""The weights of a data set's rows: what each source gives, what is refused at once, and what of a stream is refused in training."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, IterableDataset
from trl import SFTConfig

from paced_exp.core.errors import UserError
from paced_exp.integrations.row_weight import is_weight
from paced_exp.integrations.rows import weighted_rows
from paced_exp.integrations.trl import PacedSFTTrainer
from tests.support.trl_setup import models, options, run

NAMED = {"problem_id": ["a", "b"]}


def test_only_finite_numbers_of_at_least_zero_are_weights() -> None:
    assert all(map(is_weight, (0, 1.5, True, np.float32(2), np.int64(3), 1e308)))
    assert not any(map(is_weight, (None, "1", b"1", -1e-9, float("nan"), float("inf"), -float("inf"), [1, 2], {}, 10**400)))


@pytest.mark.parametrize(
    ("columns", "weights", "line"),
    [
        ({"weight": [1.0, None]}, None, "`weight` None of row 1 must be a finite number of at least 0"),
        ({"weight": [float("inf"), 1.0]}, None, "`weight` inf of row 0 must be"),
        ({"weight": [1.0, -1.0]}, None, "`weight` -1.0 of row 1 must be"),
        ({"weight": ["1", "2"]}, None, "`weight` '1' of row 0 must be"),
        (NAMED, {"a": 1.0, "b": None}, "`weight` None of row 1 must be"),
        (NAMED, {"a": "much", "b": 1.0}, "`weight` 'much' of row 0 must be"),
        ({"k": [1, 1], "K": [2, None]}, None, "`K` None of row 1 must be a whole number"),
        ({"k": ["1", "1"], "K": [2, 2]}, None, "`k` '1' of row 0 must be a whole number"),
        ({"k": [1, 3], "K": [2, 2]}, None, "`k` 3 and `K` 2 of row 1 must be whole numbers, 0 <= k <= K and K >= 1"),
        ({"k": [0, 0.5], "K": [2, 2]}, None, "`k` 0.5 and `K` 2 of row 1 must be whole numbers"),
    ],
)
def test_what_is_no_weight_is_refused_with_its_row(columns: dict[str, Any], weights: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        weighted_rows(Dataset.from_dict({"prompt": ["x", "y"], **columns}), weights)
    assert line in str(caught.value) and "mend the" in str(caught.value)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e308])
def test_weights_of_any_scale_have_mean_one(scale: float) -> None:
    made = weighted_rows(Dataset.from_dict({"prompt": ["x"] * 4, "weight": [scale, 0.0, scale / 4, scale]}))
    assert made["weight"][:] == pytest.approx([4 / 3, 1 / 3, 4 / 3], rel=1e-12)


def stream(rows: list[dict[str, Any]]) -> IterableDataset:
    """Rows whose columns are not known before they are read."""

    def made() -> Iterator[dict[str, Any]]:
        yield from rows

    found = IterableDataset.from_generator(made)
    assert found.column_names is None
    return found


def trainer(folder: Path, rows: list[dict[str, Any]], workers: int = 0) -> PacedSFTTrainer:
    own = models()
    del own["teacher_model"]
    whole = [{"input_ids": [20, 6, 7], "labels": [-100, 6, 7], **row} for row in rows]
    config = options(folder, SFTConfig, per_device_train_batch_size=2, dataloader_num_workers=workers)
    return PacedSFTTrainer(args=config, train_dataset=stream(whole), **own)


@pytest.mark.parametrize(
    ("row", "line", "workers"),
    [
        ({}, "`weight` None of a row of `train_dataset` must be a finite number of at least 0; mend the column in every row", 0),
        ({}, "`weight` None of a row of `train_dataset` must be a finite number of at least 0; mend the column in every row", 1),
        ({"problem_id": "b"}, "`weight` None of a row of `train_dataset` of problem_id 'b' must be", 0),
        ({"weight": -1.0}, "`weight` -1.0 of a row", 0),
        ({"weight": float("inf")}, "`weight` inf of a row", 0),
        ({"weight": float("nan")}, "`weight` nan of a row", 0),
        ({"weight": None}, "`weight` None of a row", 0),
    ],
)
def test_a_stream_s_row_without_a_weight_is_refused_in_training(row: dict[str, Any], line: str, workers: int, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        run(trainer(tmp_path, [{"weight": 1.0}, row], workers))
    assert line in str(caught.value)


def test_a_stream_s_weights_are_taken_as_they_are(tmp_path: Path) -> None:
    once, twice = (run(trainer(tmp_path, [{"weight": w}, {"weight": w}]))[0] for w in (1.0, 2.0))
    assert float((twice - 2 * once).norm() / once.norm()) < 1e-6


def test_evaluation_asks_no_row_for_a_weight(tmp_path: Path) -> None:
    own = trainer(tmp_path, [{"weight": 1.0}, {"weight": 1.0}])
    plain = {"input_ids": [[20, 6, 7]] * 2, "labels": [[-100, 6, 7]] * 2}
    without = own.evaluate(Dataset.from_dict(plain))["eval_loss"]
    assert without == own.evaluate(Dataset.from_dict({**plain, "weight": [3.0, -1.0]}))["eval_loss"] > 0


def test_a_row_that_cannot_be_joined_to_new_weights_is_refused(tmp_path: Path) -> None:
    own = trainer(tmp_path, [{"weight": 1.0}])
    own.counted_again = {"a": 2.0}
    assert own.weight_of({"problem_id": "a", "weight": 1.0}) == 2 and own.weight_of({"problem_id": "b", "weight": 0.5}) == 0.5
    with pytest.raises(UserError, match="a row of `train_dataset` has `problem_id` None; weights that are counted again are joined by it"):
        own.weight_of({"weight": 1.0})
