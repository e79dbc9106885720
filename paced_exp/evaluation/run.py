"""The run of an evaluation: sample, grade, score, and compare with the evaluation of another model."""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_checked, read_object
from paced_exp.core.parquet import read_table, write_table
from paced_exp.core.progress import progress
from paced_exp.core.run_folder import RunFolder, provenance
from paced_exp.data.problem import Problem
from paced_exp.data.prompt_lengths import LongPrompts
from paced_exp.data.sources import load_problems, save_problems
from paced_exp.evaluation.config import KIND, EvaluateConfig
from paced_exp.evaluation.scores import check_same_problems, comparison, scores, summary
from paced_exp.grading import grader as grading
from paced_exp.rollouts.collect import collect
from paced_exp.rollouts.engine import Sampling
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.store import ChunkStore


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Run or resume the evaluation and return its record. Raises `UserError` for anything that the user can fix."""
    run = RunFolder(config.out, config)
    return run.recorded(KIND, lambda: _evaluate(config, run))


def _evaluate(config: EvaluateConfig, run: RunFolder) -> dict[str, Any]:
    base = None if config.against is None else _base_folder(config, config.against)
    began = time.perf_counter()
    table, skipped = _scores(config, run)
    seconds = time.perf_counter() - began
    record = {
        "kind": KIND,
        "config": configs.as_dict(config),
        "sources": summary(table, longest=config.max_new_tokens, replicates=config.replicates, seed=config.seed),
        "skipped_long": skipped,
        "against": None,
        "seconds": round(seconds, 3),
        "provenance": provenance(config.seed),
    }
    if base is not None:
        other = read_checked(base / "record.json", KIND)["config"]
        compared = comparison(
            table,
            _base_scores(base),
            longest=max(config.max_new_tokens, other["max_new_tokens"]),
            replicates=config.replicates,
            seed=config.seed,
            retention=_retention(config),
        )
        record["against"] = {"model": other["model"], **compared}
    return record


def check_evaluation(config: EvaluateConfig) -> None:
    """Check the problems, and a finished evaluation to compare with, before hours of training. Raises `UserError` as `evaluate` would."""
    ids = [problem.id for part in _by_source(config).values() for problem in part]
    if config.against is not None and is_finished(config.against):
        base = _base_scores(_base_folder(config, config.against))
        if config.skip_long:  # the model is needed to know which problems are too long
            there = set(base["problem_id"])
            ids = [each for each in ids if each in there]
        check_same_problems(base, ids, [config.samples] * len(ids))


def is_finished(folder: str) -> bool:
    """Whether `folder` holds a finished evaluation. Raises `UserError` for a record that cannot be read."""
    record = Path(folder) / "record.json"
    return record.exists() and read_object(record).get("kind") == KIND


# Two evaluations can only be compared if these options are equal.
_PAIRED = ("problems", "samples", "limit", "columns", "temperature", "max_new_tokens", "seed")


def _base_folder(config: EvaluateConfig, against: str) -> Path:
    """The folder of the finished evaluation of `against`, which is made here if needed. Raises `UserError` if it has other options."""
    folder = Path(against)
    if not is_finished(against):
        out = Path(config.out)
        # The name must not depend on how `out` is spelt: ev/ and ev/. mean ev, and . means the working folder's name.
        out = out if out.name not in ("", "..") else Path(os.path.abspath(out))
        folder = out.with_name(f"{out.name}-against")
        evaluate(dataclasses.replace(config, model=against, against=None, out=str(folder)))
        return folder
    theirs, ours = read_checked(folder / "record.json", KIND)["config"], configs.as_dict(config)
    differing = [f"`{name}` ({theirs[name]!r} there, {ours[name]!r} now)" for name in _PAIRED if theirs[name] != ours[name]]
    if differing:
        raise UserError(
            f"`against` {against} was evaluated with other options; differing: {', '.join(differing)}; "
            "give the same options, or evaluate its model again"
        )
    return folder


def _base_scores(folder: Path) -> pd.DataFrame:
    scores: pd.DataFrame = read_table(folder / "scores.parquet").to_pandas()
    return scores


def _scores(config: EvaluateConfig, run: RunFolder) -> tuple[pd.DataFrame, int]:
    """Sample, grade and score; stored samples are read back. Returns the scores and how many problems were too long."""
    engines = Engines(config)
    by_source = _by_source(config)
    problems = [problem for part in by_source.values() for problem in part]
    model = engines.load(config.model)
    long = LongPrompts([(model, config.prompt)], config.max_new_tokens, config.skip_long)
    problems = long.listed(problems)
    engine = engines.of(model)
    store = ChunkStore(run.path, "rollouts")
    with grading.Grader() as grader:
        made = collect(
            problems,
            model,
            engine,
            grader,
            store,
            Sampling(config.samples, config.max_new_tokens, config.temperature, config.seed),
            kind=config.prompt,
            watch=lambda finished, sampled: bar.watch(finished, sampled),
        )
        # The folder is created only now: a refused command leaves none, so the corrected command can use the same name.
        run.open().claim({"model": model.fingerprint, "problems": _content(problems)})
        save_problems(problems, run / "problems.parquet")
        stored = len(store.done_ids()) * config.samples
        with progress(len(problems) * config.samples, "rollouts", f"evaluate {config.model}", initial=stored) as bar:
            for _ in made:
                pass
    store.finalise(order=[problem.id for problem in problems])
    kept = {problem.id for problem in problems}
    table = scores(store.outcomes(), {problem.id: name for name, part in by_source.items() for problem in part if problem.id in kept})
    write_table(run / "scores.parquet", pa.Table.from_pandas(table, preserve_index=False), None)
    return table, len(long.skipped)


def _content(problems: Sequence[Problem]) -> str:
    return (
        "sha256:" + hashlib.sha256(json.dumps([dataclasses.asdict(problem) for problem in problems], sort_keys=True).encode()).hexdigest()
    )


def _retention(config: EvaluateConfig) -> list[str]:
    return [name.strip() for name in config.retention.split(",")]


def _by_source(config: EvaluateConfig) -> dict[str, list[Problem]]:
    """The problems of each source, by the name that the user wrote. Raises `UserError` for an id that occurs in two sources."""
    names = [config.problems] if Path(config.problems).is_file() else [part.strip() for part in config.problems.split(",")]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"`problems` names {repeated[0]} twice; name every source once")
    absent = [name for name in _retention(config) if name not in names]
    if absent and config.retention != EvaluateConfig.retention:
        raise UserError(
            f"`retention` {absent[0]} is not among `problems` {config.problems}; forgetting is only measured on evaluated sources"
        )
    found = {name: load_problems(name, limit=config.limit, seed=config.seed, columns=config.columns) for name in names}
    sources: dict[str, str] = {}
    for name, problems in found.items():
        for problem in problems:
            if problem.id in sources:
                raise UserError(f"problem id {problem.id!r} occurs in {sources[problem.id]} and {name}; ids must differ across `problems`")
            sources[problem.id] = name
    return found
