"""Scores of an evaluation, their summary by source, and the paired comparison with another model's scores.

mean@n is the mean over problems of c/n, an unbiased estimate of the accuracy of one sample. Intervals resample problems, not samples, so they show
how much another draw of problems would change the numbers; `core.intervals` says what is done with few problems.
"""

from typing import Any

import numpy as np
import pandas as pd

from paced_exp.core.errors import UserError
from paced_exp.core.intervals import Interval, intervals
from paced_exp.evaluation.metrics import pass_at_k


def scores(rollouts: pd.DataFrame, sources: dict[str, str]) -> pd.DataFrame:
    """A row for each problem, in the order of `sources`.

    rollouts: with token_ids or their number `tokens`. sources: for each problem id, the source that the user named.
    """
    frame = pd.DataFrame(
        {
            "problem_id": rollouts["problem_id"],
            "correct": rollouts["correct"].astype("int64"),
            "tokens": rollouts["tokens"] if "tokens" in rollouts else rollouts["token_ids"].map(len),
            "truncated": ~rollouts["finished"].astype(bool),
        }
    )
    groups = frame.groupby("problem_id")
    table = pd.DataFrame(
        {
            "samples": groups.size(),
            "correct": groups["correct"].sum(),
            "mean_tokens": groups["tokens"].mean(),
            "truncated_share": groups["truncated"].mean(),
        }
    ).loc[list(sources)]
    table.insert(0, "source", list(sources.values()))
    return table.rename_axis("problem_id").reset_index()


def summary(table: pd.DataFrame, *, longest: int, replicates: int, seed: int) -> list[dict[str, Any]]:
    """For each source: mean@n, pass@k for k = 1..n and mean response length in tokens, with 95 % intervals, and the share of cut responses.

    longest: tokens that a response has at most. Few long ones carry a mean length, which an interval without that bound would miss.
    """
    rows: list[dict[str, Any]] = []
    for number, (source, part) in enumerate(table.groupby("source", sort=False)):
        values = _values(part)
        found = intervals(
            np.column_stack(list(values.values())),
            replicates=replicates,
            rng=np.random.default_rng([seed, number]),
            bounds=[(0.0, float(longest)) if name == "tokens" else (0.0, 1.0) for name in values],
        )
        named = {name: interval._asdict() for name, interval in zip(values, found, strict=True)}
        rows.append(
            {
                "source": source,
                "problems": len(part),
                "samples": int(part["samples"].iloc[0]),
                "mean": named.pop("mean"),
                "tokens": named.pop("tokens"),
                "pass_at": named,
                "truncated_share": float(part["truncated_share"].mean()),
            }
        )
    return rows


def comparison(
    table: pd.DataFrame, base: pd.DataFrame, *, longest: int, replicates: int, seed: int, retention: list[str]
) -> dict[str, Any]:
    """Differences model - base for each source, from pairs of the same problem. forgetting: base - model on the retention sources.

    longest: tokens that a response of either has at most.

    Raises `UserError` as `check_same_problems` does.
    """
    check_same_problems(base, table["problem_id"].tolist(), table["samples"].tolist())
    rows: list[dict[str, Any]] = []
    for number, (source, part) in enumerate(table.groupby("source", sort=False)):
        ours, theirs = _values(part), _values(base.loc[part.index])
        differences = np.column_stack([ours[name] - theirs[name] for name in ours])
        found = intervals(
            differences,
            replicates=replicates,
            rng=np.random.default_rng([seed, 1000 + number]),
            bounds=[(-float(longest), float(longest)) if name == "tokens" else (-1.0, 1.0) for name in ours],
        )
        named = {name: interval._asdict() for name, interval in zip(ours, found, strict=True)}
        rows.append({"source": source, "mean": named.pop("mean"), "tokens": named.pop("tokens"), "pass_at": named})
    forgotten = [
        {"source": row["source"], "drop": Interval(*(_negative(row["mean"][end]) for end in ("value", "high", "low")))._asdict()}
        for row in rows
        if row["source"] in retention
    ]
    return {"differences": rows, "forgetting": forgotten}


def check_same_problems(base: pd.DataFrame, problem_ids: list[str], samples: list[int]) -> None:
    """Raise `UserError` unless the scores `base` are of these problems, in this order, with these numbers of samples."""
    if base["problem_id"].tolist() != problem_ids or base["samples"].tolist() != samples:
        raise UserError("`against` was evaluated on other problems or with other `samples`; evaluate it again with the same options")


def _negative(number: float | None) -> Any:
    return None if number is None else -number


def _values(part: pd.DataFrame) -> dict[str, np.ndarray]:
    """The values of each problem, by metric."""
    samples = int(part["samples"].iloc[0])
    correct = part["correct"].to_numpy()
    values = {"mean": correct / samples, "tokens": part["mean_tokens"].to_numpy()}
    return values | {str(k): pass_at_k(correct, samples, k) for k in range(1, samples + 1)}
