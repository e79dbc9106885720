"""The command of rollouts: load problems and the student, sample and grade, and write pass rates."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_object, write_json
from paced_exp.core.progress import progress
from paced_exp.core.run_folder import RunFolder, provenance
from paced_exp.data.problem import Problem
from paced_exp.data.prompt_lengths import LongPrompts
from paced_exp.data.sources import load_problems, save_problems
from paced_exp.grading import grader as grading
from paced_exp.rollouts.collect import collect
from paced_exp.rollouts.config import KIND, RolloutConfig
from paced_exp.rollouts.engine import Sampling
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.pass_rates import Fingerprint, pass_rates, read_pass_rates, warn_of_truncation, with_weights, write_pass_rates
from paced_exp.rollouts.store import ChunkStore
from paced_exp.rollouts.summary import summary


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
    fingerprint = Fingerprint.of(student, temperature=config.temperature, max_new_tokens=config.max_new_tokens)
    engine = engines.of(student)
    store = ChunkStore(run.path, "rollouts")
    with grading.Grader() as grader:
        stored = collect(
            problems,
            student,
            engine,
            grader,
            store,
            Sampling(config.K, config.max_new_tokens, config.temperature, config.seed),
            watch=lambda finished, sampled: bar.watch(finished, sampled),
        )
        # The folder is created only now: a refused command leaves none, so the corrected command can use the same name.
        run.open()
        _claim(run / "inputs.json", {"problems": _hash(problems), **asdict(fingerprint)})
        save_problems(problems, run / "problems.parquet")
        began, made, tokens = time.perf_counter(), 0, 0
        with progress(len(problems) * config.K, "rollouts", "rollouts", initial=len(store.done_ids()) * config.K) as bar:
            for rows in stored:
                made, tokens = made + len(rows), tokens + sum(len(row["token_ids"]) for row in rows)
        seconds = time.perf_counter() - began

    order = [problem.id for problem in problems]
    store.finalise(order=order, metadata={"paced_fingerprint": json.dumps(asdict(fingerprint), sort_keys=True)})
    rates = pass_rates(store.outcomes()).set_index("problem_id").loc[order].reset_index()
    write_pass_rates(run / "pass_rates.parquet", with_weights(rates), fingerprint)
    warn_of_truncation(rates, config.max_new_tokens)
    return {
        "kind": KIND,
        "config": configs.as_dict(config),
        **summary(rates, [problem.source for problem in problems]),
        "skipped_long": len(long.skipped),
        # Of the session that finished the run only, not of earlier ones that were interrupted.
        "session": {"rollouts": made, "tokens": tokens, "seconds": round(seconds, 3)},
        "provenance": provenance(config.seed),
    }


def _claim(path: Path, inputs: dict[str, Any]) -> None:
    """Store what the folder's rollouts are of. Raises `UserError` if the folder has rollouts of something else."""
    if not path.exists():
        write_json(path, inputs)
        return
    stored = read_object(path)
    differing = [name for name, value in inputs.items() if stored.get(name) != value]
    if differing:
        what = "the problems or their order" if differing == ["problems"] else f"the student's {' and '.join(differing)}"
        raise UserError(f"{path.parent} holds rollouts made before {what} changed; name another folder with `out`, or delete this one")


def _hash(problems: Sequence[Problem]) -> str:
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps(asdict(problem), sort_keys=True).encode())
    return f"sha256:{digest.hexdigest()}"
