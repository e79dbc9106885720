"""The weights of a data set's rows, from a column of it or joined by problem_id; rows of weight zero are left out."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.data.problem_tables import read_weights
from paced_exp.door.problem_weights import ProblemWeights
from paced_exp.weighting import Beta, Estimator, Kernel
from paced_exp.weighting import weights as weights_of

WEIGHT, ID = "weight", "problem_id"
Given = ProblemWeights | Mapping[Any, float] | str | Path


def weighted_rows(
    rows: Any,
    weights: Given | None = None,
    kernel: str | Kernel | Callable[[float], float] = Beta(1, 1),  # noqa: B008 (a frozen value)
    estimator: str | Estimator = "plugin",
) -> Any:
    """The rows that are trained on, with a column `weight` of mean one.

    rows: a `datasets.Dataset` (a stream: see below). weights: of each problem_id, as `paced.weights` returns them, a mapping or a file of
    `paced weights`; when left out, the rows' own column `weight`, or the weights of their columns k and K by `kernel` and `estimator`.

    Rows of weight zero are left out, and the weights divided by the mean of the others, once over the data set: a learning rate keeps its
    meaning, and no micro-batch is normalised by itself, which would erase the weights. A stream (`IterableDataset`) is neither filtered nor
    divided: its column `weight` is taken as it is.

    Raises `UserError` for rows without any of these columns, a problem_id without a weight, a weight that is negative or not finite, and
    weights that are all zero.
    """
    columns = rows.column_names
    if not hasattr(rows, "select"):
        if weights is not None or (columns is not None and WEIGHT not in columns):
            raise UserError("a stream of rows must bring a column `weight`, which is taken as it is: weights cannot be normalised over it")
        return rows
    found = _weights(rows, columns, weights, kernel, estimator)
    if not (np.isfinite(found) & (found >= 0)).all():
        place = int(np.argmin(np.isfinite(found) & (found >= 0)))
        raise UserError(f"`weight` {found[place]} of row {place} must be a finite number of at least 0; mend the column")
    kept = np.flatnonzero(found > 0)
    if not len(kept):
        raise UserError(f"all {len(found)} rows have weight zero; take another kernel or estimator, or count more rollouts")
    if WEIGHT in columns:
        rows = rows.remove_columns(WEIGHT)
    return rows.select(kept).add_column(WEIGHT, (found[kept] / found[kept].mean()).tolist())


def _weights(rows: Any, columns: Iterable[str], weights: Given | None, kernel: Any, estimator: Any) -> np.ndarray:
    if weights is not None:
        if ID not in columns:
            raise UserError(f"the rows have no column `{ID}`, by which `weights` are joined to them; they have {', '.join(columns)}")
        of = by_id(weights)
        ids = [str(name) for name in rows[ID]]
        missing = [name for name in ids if name not in of]
        if missing:
            raise UserError(f"`weights` has none for {len(missing)} of {len(ids)} rows, {ID} {missing[0]!r} first; weigh all of them")
        return np.array([of[name] for name in ids], dtype=float)
    if WEIGHT in columns:
        return np.array([np.nan if value is None else value for value in rows[WEIGHT]], dtype=float)
    if {"k", "K"} <= set(columns):
        return weights_of(np.array(rows["k"]), np.array(rows["K"]), kernel, estimator).in_training
    raise UserError(f"the rows have no column `weight`, nor `k` and `K`, and no `weights` are given; they have {', '.join(columns)}")


def by_id(weights: Given) -> dict[str, float]:
    """problem_id -> weight of what `weighted_rows` takes as `weights`. Raises `UserError` for a file without them."""
    if isinstance(weights, str | Path):
        return read_weights(weights)
    if isinstance(weights, ProblemWeights):
        return dict(zip(weights.counts.problem_id, weights.weight.tolist(), strict=True))
    return {str(name): float(weight) for name, weight in weights.items()}
