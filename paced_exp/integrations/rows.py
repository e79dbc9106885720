"""The weights of a data set's rows, from a column of it or joined by problem_id; rows of weight zero are left out."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.data.problem_tables import read_weights
from paced_exp.door.cells import numbers_in
from paced_exp.door.problem_weights import ProblemWeights
from paced_exp.integrations.row_weight import is_weight
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
    divided: its column `weight` is taken as it is. Its rows come during training only, so the trainer checks each weight when it is used.

    Raises `UserError` for rows without any of these columns, a problem_id without a weight, a weight that is negative, not finite or no
    number, impossible counts, and weights that are all zero.
    """
    columns = rows.column_names
    if not hasattr(rows, "select"):
        if weights is not None or (columns is not None and WEIGHT not in columns):
            raise UserError("a stream of rows must bring a column `weight`, which is taken as it is: weights cannot be normalised over it")
        return rows
    given = _weights(rows, columns, weights, kernel, estimator)
    for place, value in enumerate(given):
        if not is_weight(value):
            raise UserError(
                f"`weight` {value!r:.80} of row {place} must be a finite number of at least 0; mend the column or the `weights`"
            )
    found = np.array([float(value) for value in given])
    kept = np.flatnonzero(found > 0)
    if not len(kept):
        raise UserError(f"all {len(found)} rows have weight zero; take another kernel or estimator, or count more rollouts")
    if WEIGHT in columns:
        rows = rows.remove_columns(WEIGHT)
    scaled = found[kept] / found.max()  # so that the sum of large weights does not overflow
    return rows.select(kept).add_column(WEIGHT, (scaled / scaled.mean()).tolist())


def _weights(rows: Any, columns: Iterable[str], weights: Given | None, kernel: Any, estimator: Any) -> list[Any]:
    """The weight of each row as it is given, unchecked, or by the counts in it."""
    if weights is not None:
        if ID not in columns:
            raise UserError(f"the rows have no column `{ID}`, by which `weights` are joined to them; they have {', '.join(columns)}")
        of = by_id(weights)
        ids = [str(name) for name in rows[ID]]
        missing = [name for name in ids if name not in of]
        if missing:
            raise UserError(f"`weights` has none for {len(missing)} of {len(ids)} rows, {ID} {missing[0]!r} first; weigh all of them")
        return [of[name] for name in ids]
    if WEIGHT in columns:
        return list(rows[WEIGHT])
    if {"k", "K"} <= set(columns):
        k, K = (numbers_in(list(rows[name]), f"`{name}`", "row {}".format, "a whole number, 0 <= k <= K and K >= 1") for name in ("k", "K"))
        possible = (k >= 0) & (k <= K) & (K >= 1) & (k % 1 == 0) & (K % 1 == 0)
        if not possible.all():
            place = int(np.argmin(possible))
            raise UserError(f"`k` {k[place]} and `K` {K[place]} of row {place} must be whole numbers, 0 <= k <= K and K >= 1; mend the row")
        return list(weights_of(k, K, kernel, estimator).in_training)
    raise UserError(f"the rows have no column `weight`, nor `k` and `K`, and no `weights` are given; they have {', '.join(columns)}")


def by_id(weights: Given) -> dict[str, Any]:
    """problem_id -> weight of what `weighted_rows` takes as `weights`. Raises `UserError` for a file without them."""
    if isinstance(weights, str | Path):
        return read_weights(weights)
    if isinstance(weights, ProblemWeights):
        return dict(zip(weights.counts.problem_id, weights.weight.tolist(), strict=True))
    return {str(name): weight for name, weight in weights.items()}
