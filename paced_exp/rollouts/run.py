"""The command of rollouts: load problems and the student, sample and grade, and write pass rates."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_object, write_json
from paced_exp.core.progress import progress
from paced_exp.core.run_folder import RunFolder
from paced_exp.data.problem import Problem
from paced_exp.data.prompt_lengths import LongPrompts
from paced_exp.data.sources import load_problems, save_problems
from paced_exp.grading import grader as grading
from paced_exp.rollouts.collect import collect
from paced_exp.rollouts.config import KIND, RolloutConfig
from paced_exp.rollouts.engine import Sampling
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.finished import Finished, problems_hash
from paced_exp.rollouts.pass_rates import Fingerprint, read_pass_rates
from paced_exp.rollouts.rounds import Roll, roll_in_rounds
from paced_exp.rollouts.shards import Shard
from paced_exp.rollouts.stopping import Law, Stopping, parse_law
from paced_exp.rollouts.store import ChunkStore


def roll_out(config: RolloutConfig) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Run or resume the rollouts. Returns the pass rates (see `pass_rates.pass_rates`) and the record.

    Raises `UserError` for anything the user can mend, such as a run folder with rollouts of other problems or another student.
    """
    run = RunFolder(config.out, config)
    record = run.recorded(KIND, lambda: _roll_out(config, run))
    return read_pass_rates(run / "pass_rates.parquet", None), record


def _roll_out(config: RolloutConfig, run: RunFolder) -> dict[str, Any]:
    engines = Engines(config)
    problems = load_problems(config.problems, limit=config.limit, seed=config.seed, columns=config.columns)
    student = engines.load(config.student)
    long = LongPrompts([(student, "plain")], config.max_new_tokens, config.skip_long)
    problems = long.listed(problems)
    inputs = {"problems": problems_hash(problems)}
    if config.shard is not None:
        inputs["all_problems"] = inputs["problems"]
        problems = Shard.parse(config.shard).of(problems)
        inputs["problems"] = problems_hash(problems)
    fingerprint = Fingerprint.of(student, temperature=config.temperature, max_new_tokens=config.max_new_tokens)
    engine = engines.of(student)
    sampling = Sampling(config.K, config.max_new_tokens, config.temperature, config.seed)
    session = {"rollouts": 0, "tokens": 0}

    with grading.Grader() as grader:

        def roll(chosen: Sequence[Problem], asked: Sampling) -> ChunkStore:
            store = ChunkStore(run.path, store_name(asked.first))
            made = collect(chosen, student, engine, grader, store, asked, watch=lambda *counts: bar.watch(*counts))
            if asked.first == 0:
                # The folder is created only now: a refused command leaves none, so the corrected command can use the same name.
                run.open()
                _claim(run / "inputs.json", {**inputs, **asdict(fingerprint)})
                save_problems(problems, run / "problems.parquet")
            with progress(
                len(chosen) * asked.samples, "rollouts", _named(config, asked), initial=len(store.done_ids()) * asked.samples
            ) as bar:
                for rows in made:
                    session["rollouts"] += len(rows)
                    session["tokens"] += sum(len(row["token_ids"]) for row in rows)
            return store

        began = time.perf_counter()
        stores, stopping = _stores(config, problems, sampling, roll)
        seconds = time.perf_counter() - began
    finished = Finished(config, problems, stores, fingerprint, stopping, len(long.skipped))
    # Of the session that finished the run only, not of earlier ones that were interrupted. `seconds` counts the engine's start too.
    return finished.write(run.path, {**session, "seconds": round(seconds, 3), "start_seconds": round(engine.start_seconds, 3)})


def _stores(config: RolloutConfig, problems: Sequence[Problem], sampling: Sampling, roll: Roll) -> tuple[list[ChunkStore], Stopping | None]:
    """The stores with all rollouts, and the rule by which they were stopped, if they were."""
    criterion = config.adaptive
    if criterion == "off":
        return [roll(problems, sampling)], None
    law: Law | None = None if config.law is None else parse_law(config.law)

    def stopping_of(counts: tuple[np.ndarray, np.ndarray]) -> Stopping:
        return Stopping.of(criterion, config.K, config.seed, law, counts)

    return roll_in_rounds(problems, sampling, stopping_of, roll)


def store_name(first: int) -> str:
    """The name of the store of the round that begins with sample `first`."""
    return "rollouts" if first == 0 else f"rollouts-{first:04d}"


def _named(config: RolloutConfig, asked: Sampling) -> str:
    """What the bar calls a round."""
    return "rollouts" if config.adaptive == "off" else f"rollouts {asked.first + 1} to {asked.first + asked.samples}"


def _claim(path: Path, inputs: dict[str, Any]) -> None:
    """Store what the folder's rollouts are of. Raises `UserError` if the folder has rollouts of something else."""
    if not path.exists():
        write_json(path, inputs)
        return
    stored = read_object(path)
    differing = [name for name, value in inputs.items() if stored.get(name) != value]
    if differing:
        what = "the problems or their order" if {*differing} <= {"problems", "all_problems"} else f"the student's {' and '.join(differing)}"
        raise UserError(f"{path.parent} holds rollouts made before {what} changed; name another folder with `out`, or delete this one")
