"""Pass rates from rollouts: k of K correct rollouts, an interval, a posterior mean, and a fingerprint.

A pass rate belongs to one student, prompt template, temperature and length limit. The fingerprint holds these four and is stored with the rates.
Reading the file for another student or sampler is refused: weights from rates of something else would be wrong without any sign of it.
"""

import hashlib
import json
import math
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.special import betaincinv

from paced_exp.core.errors import UserError
from paced_exp.core.parquet import read_table, write_table
from paced_exp.data import prompts
from paced_exp.data.problem_tables import CHECKSUM_KEY, STOPPING_KEY, Counts, of_file, read_counts, table_checksum
from paced_exp.models.loading import LoadedModel
from paced_exp.weighting import weights

COLUMNS = ("problem_id", "k", "K", "p_hat", "jeffreys_low", "jeffreys_high", "posterior_mean", "truncated_share", "mean_tokens")
FINGERPRINT_KEY = "paced_fingerprint"
CONFIDENCE = 0.95
LARGE_TRUNCATED_SHARE = 0.2  # of rollouts; above it a run warns


@dataclass(frozen=True)
class Fingerprint:
    """What a pass rate belongs to: the student (its files' hash), the template (`template_hash`), temperature and max_new_tokens."""

    student: str
    template: str
    temperature: float
    max_new_tokens: int

    @classmethod
    def of(cls, model: LoadedModel, *, temperature: float, max_new_tokens: int) -> "Fingerprint":
        """Fingerprint of rollouts by `model`."""
        return cls(model.fingerprint, template_hash(model.tokenizer), float(temperature), int(max_new_tokens))


def template_hash(tokenizer: Any) -> str:
    """Hash of all that turns a problem into the student's prompt: the chat template and this package's instruction."""
    return "sha256:" + hashlib.sha256(json.dumps([tokenizer.chat_template, prompts.MATH_INSTRUCTION]).encode()).hexdigest()


def jeffreys_interval(k: np.ndarray, K: np.ndarray, confidence: float = CONFIDENCE) -> tuple[np.ndarray, np.ndarray]:
    """Equal-tailed interval for a binomial proportion from the posterior Beta(k + 1/2, K - k + 1/2) under Jeffreys' prior.

    The lower end is 0 at k = 0, and the upper end is 1 at k = K. Otherwise coverage would fall to zero at the boundary (Brown, Cai and DasGupta,
    Statistical Science 2001, section 4.1.2). k, K: counts of the same shape. Returns (low, high) of that shape.
    Raises `ValueError` unless 0 <= k <= K.
    """
    k, K = np.asarray(k, dtype=float), np.asarray(K, dtype=float)
    if not ((k >= 0) & (k <= K)).all():
        raise ValueError(f"k and K must satisfy 0 <= k <= K, got {k!r} and {K!r}")
    tail = (1 - confidence) / 2
    low = np.where(k == 0, 0.0, betaincinv(k + 0.5, K - k + 0.5, tail))
    high = np.where(k == K, 1.0, betaincinv(k + 0.5, K - k + 0.5, 1 - tail))
    return low, high


def pass_rates(rollouts: pd.DataFrame, prior: tuple[float, float] = (1.0, 1.0)) -> pd.DataFrame:
    """Pass rates of the problems in `rollouts`, in the order in which they first occur.

    rollouts: a row for each, with problem_id, sample, finished, correct, and token_ids or their number `tokens`. prior: (a, b) of the Beta prior
    of posterior_mean = (k + a) / (K + a + b); the default is uniform. Returns the columns `COLUMNS`: k correct of K, p_hat = k / K, the 95 %
    Jeffreys interval, the posterior mean, the share of rollouts that were cut at the length limit, and the mean response length in tokens.
    Raises `UserError` without rollouts, for a (problem_id, sample) that occurs twice, and for a prior that is not a Beta distribution.
    """
    if not (min(prior) > 0 and all(map(math.isfinite, prior))):
        raise UserError(f"prior {prior} must be two positive finite numbers, the a and b of a Beta distribution")
    if len(rollouts) == 0:
        raise UserError("there are no rollouts to take pass rates of; check that `problems` names a source with problems in it")
    repeated = rollouts.duplicated(["problem_id", "sample"])
    if repeated.any():
        row = rollouts[repeated].iloc[0]
        raise UserError(f"rollout {row['sample']} of problem {row['problem_id']!r} occurs twice; roll out into a new folder")
    frame = pd.DataFrame(
        {
            "problem_id": rollouts["problem_id"],
            "correct": rollouts["correct"].astype("int64"),
            "truncated": ~rollouts["finished"].astype(bool),
            "tokens": rollouts["tokens"] if "tokens" in rollouts else rollouts["token_ids"].map(len),
        }
    )
    groups = frame.groupby("problem_id", sort=False)
    k, K = groups["correct"].sum(), groups.size()
    low, high = jeffreys_interval(k.to_numpy(), K.to_numpy())
    return pd.DataFrame(
        {
            "problem_id": k.index.to_numpy(),
            "k": k.to_numpy(),
            "K": K.to_numpy(),
            "p_hat": (k / K).to_numpy(),
            "jeffreys_low": low,
            "jeffreys_high": high,
            "posterior_mean": ((k + prior[0]) / (K + sum(prior))).to_numpy(),
            "truncated_share": groups["truncated"].mean().to_numpy(),
            "mean_tokens": groups["tokens"].mean().to_numpy(),
        }
    )


def warn_of_truncation(rates: pd.DataFrame, max_new_tokens: int) -> None:
    """Warn on stderr if more than a fifth of the rollouts were cut: pass rates then depend strongly on the length limit."""
    share = float(np.average(rates["truncated_share"], weights=rates["K"]))
    if share > LARGE_TRUNCATED_SHARE:
        print(
            f"warning: {share:.0%} of the rollouts were cut at `max_new_tokens` {max_new_tokens} and count as failed; raise it unless that is meant",
            file=sys.stderr,
        )


def with_weights(rates: pd.DataFrame, *, stopped: bool = False) -> pd.DataFrame:
    """`rates` with a column `weight`: the paper's w(k/K) = k/K (1 - k/K), of mean one over the problems that it keeps.

    stopped: whether rollouts were stopped early, which biases k/K; then the weight's mean by empirical Bayes, which stays what it is.
    All zeros where every problem is always or never solved: then no weight says anything, and a run that only counts must not fail.
    """
    k, K = rates["k"].to_numpy(), rates["K"].to_numpy()
    undecided = ((k > 0) & (k < K)).any()
    estimator = "empirical_bayes" if stopped else "plugin"
    return rates.assign(weight=weights(k, K, estimator=estimator).in_training if undecided else np.zeros(len(rates)))


def write_pass_rates(path: Path, rates: pd.DataFrame, fingerprint: Fingerprint, stopping: str | None = None) -> None:
    """Write `rates` with their fingerprint, atomically. stopping: the rule by which rollouts were stopped early, as JSON.

    Raises `UserError` when the file cannot be written.
    """
    table = pa.Table.from_pandas(rates, preserve_index=False)
    metadata = {FINGERPRINT_KEY: json.dumps(asdict(fingerprint), sort_keys=True), CHECKSUM_KEY: table_checksum(table)}
    write_table(path, table, metadata if stopping is None else {**metadata, STOPPING_KEY: stopping})


def read_pass_rates(path: str | Path, expected: Fingerprint | None) -> pd.DataFrame:
    """Read and check a pass_rates.parquet.

    expected: the fingerprint that the file must have; None accepts any. A .jsonl or .csv file with problem_id, k and K in each line holds a user's
    own counts. It has no fingerprint to check, and only these columns are returned.

    Raises `UserError`, naming the file and the problem, for a file that is missing or damaged, lacks a column, has a problem twice or impossible
    counts or rates, or has another fingerprint (naming the fields that differ).
    """
    path = Path(path)
    if path.suffix in (".jsonl", ".csv"):
        return pd.DataFrame(vars(read_counts(path)))
    table = read_table(path)
    if expected is not None:
        _check_fingerprint(path, table, expected)
    for name in COLUMNS:
        if name not in table.column_names:
            raise UserError(f"{path} has no column {name!r}, so it is no file of pass rates; make it with: python -m paced_exp.rollout")
    _check_types(path, table)
    stored = (table.schema.metadata or {}).get(CHECKSUM_KEY.encode())  # none in files of earlier versions
    if stored is not None and stored != table_checksum(table).encode():
        raise UserError(f"{path} is damaged (its checksum is wrong); make it again with: python -m paced_exp.rollout")
    rates: pd.DataFrame = table.select(COLUMNS).to_pandas()
    _check_values(path, rates)
    return rates


def _check_fingerprint(path: Path, table: pa.Table, expected: Fingerprint) -> None:
    again = "roll out again with: python -m paced_exp.rollout"
    stored = (table.schema.metadata or {}).get(FINGERPRINT_KEY.encode())
    if stored is None:
        raise UserError(f"{path} does not say of which student its pass rates are (no {FINGERPRINT_KEY} in its metadata); {again}")
    try:
        found = json.loads(stored)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {FINGERPRINT_KEY} in its metadata that is no JSON object; {again}")
    differing = [
        f"{name} ({found.get(name)!r} there, {value!r} wanted)" for name, value in asdict(expected).items() if found.get(name) != value
    ]
    if differing:
        raise UserError(f"{path} holds pass rates of other rollouts; differing: {', '.join(differing)}; {again}")


def _check_types(path: Path, table: pa.Table) -> None:
    for name in COLUMNS:
        kind = table.schema.field(name).type
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not (text if name == "problem_id" else pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise UserError(
                f"{path}: column {name!r} holds {kind}, not {'text' if name == 'problem_id' else 'numbers'}; make the file again"
            )


def _check_values(path: Path, rates: pd.DataFrame) -> None:
    if len(rates) == 0:
        raise UserError(f"{path} has no pass rates in it; make the file again with: python -m paced_exp.rollout")
    with of_file(path):
        Counts(rates["problem_id"].tolist(), rates["k"].to_numpy(), rates["K"].to_numpy())
    refuse = partial(_refuse, path, rates)
    for name in ("p_hat", "jeffreys_low", "jeffreys_high", "posterior_mean", "truncated_share"):
        refuse(~rates[name].between(0, 1), name, "is outside [0, 1]")
    refuse((rates["p_hat"] - rates["k"] / rates["K"]).abs() > 1e-12, "p_hat", "is not k / K")
    refuse(~((rates["jeffreys_low"] <= rates["p_hat"]) & (rates["p_hat"] <= rates["jeffreys_high"])), "p_hat", "lies outside its interval")
    refuse(~(rates["mean_tokens"] >= 0), "mean_tokens", "must be at least 0")


def _refuse(path: Path, rates: pd.DataFrame, wrong: pd.Series, name: str, allowed: str) -> None:
    """Raise `UserError` naming the first wrong row, if there is one."""
    if wrong.any():
        row = rates[wrong].iloc[0]
        raise UserError(f"{path}: {name} = {row[name]} of problem {row['problem_id']!r} {allowed}; mend the row or make the file again")
