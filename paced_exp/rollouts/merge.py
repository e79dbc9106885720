"""Joining the shards of a run of rollouts: the result is that of the same run in one part."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_checked, read_object, write_json
from paced_exp.core.run_folder import RunFolder
from paced_exp.data.problem import Problem
from paced_exp.data.sources import load_problems, save_problems
from paced_exp.rollouts.config import KIND, RolloutConfig
from paced_exp.rollouts.finished import Finished, problems_hash
from paced_exp.rollouts.pass_rates import Fingerprint, read_pass_rates
from paced_exp.rollouts.shards import Shard, joined
from paced_exp.rollouts.stopping import Stopping, parse_law
from paced_exp.rollouts.store import ChunkStore

# Shards may lie anywhere and run on other devices: these options do not say what is rolled out.
_OF_A_SHARD = ("out", "shard", "device", "engine_options", "max_batch_tokens")
# What inputs.json of a shard holds.
_INPUTS = {"all_problems", *(field.name for field in dataclasses.fields(Fingerprint))}


@dataclass(frozen=True)
class _Part:
    """The finished run of one shard."""

    folder: Path
    shard: Shard
    config: dict[str, Any]
    inputs: dict[str, Any]
    record: dict[str, Any]
    problems: list[Problem]
    stores: list[ChunkStore]


def merge(folders: Sequence[str | Path], out: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Join the finished shards in `folders`, in any order, into the run folder `out`. Returns the pass rates and the record.

    The folder has the configuration of the run in one part, which then finds itself finished. Raises `UserError` if a shard is missing, given
    twice or not finished, has another configuration, student or problems, or lacks rollouts.
    """
    parts = sorted((_part(Path(folder)) for folder in folders), key=lambda part: part.shard.number)
    _check_complete(parts)
    _check_alike(parts)
    try:
        problems = joined([part.problems for part in parts])
    except ValueError as error:
        raise UserError(f"{parts[0].folder} and the other shards have {error}; roll out again") from error
    if problems_hash(problems) != parts[0].inputs["all_problems"]:
        raise UserError(f"{parts[0].folder} and the other shards do not have the problems of one run; roll out again")
    config = dataclasses.replace(_config(parts[0].folder), out=str(out), shard=None)
    run = RunFolder(config.out, config)

    def make() -> dict[str, Any]:
        stopping = _stopping(config, parts)
        for part in parts:
            _check_rollouts(part, config, stopping)
        run.open()
        fingerprint = Fingerprint(**{field.name: parts[0].inputs[field.name] for field in dataclasses.fields(Fingerprint)})
        write_json(run / "inputs.json", {"problems": problems_hash(problems), **dataclasses.asdict(fingerprint)})
        save_problems(problems, run / "problems.parquet")
        sessions = Counter[str]()
        for part in parts:
            sessions.update(part.record["session"])
        stores = [store for part in parts for store in part.stores]
        finished = Finished(config, problems, stores, fingerprint, stopping, parts[0].record["skipped_long"])
        return {
            **finished.write(run.path, {**sessions, **{name: round(sessions[name], 3) for name in ("seconds", "start_seconds")}}),
            "shards": len(parts),
        }

    record = run.recorded(KIND, make)
    return read_pass_rates(run / "pass_rates.parquet", None), record


def _config(folder: Path) -> RolloutConfig:
    """The options of a shard. Raises `UserError`, naming the folder and the option, for one that this version does not know or take."""
    path = folder / "config.yaml"
    known = {field.name for field in dataclasses.fields(RolloutConfig)}
    if unknown := [name for name in configs.read_yaml(path) if name not in known]:
        raise UserError(
            f"{path} has the option {unknown[0]!r}, which this version does not know; join the shards with the version that made them"
        )
    try:
        return configs.parse(RolloutConfig, ["--config", str(path)], "paced_exp.rollout", "")
    except UserError as error:
        raise UserError(f"{path}: {error}; restore it, or roll out the shard again into another folder") from error


def _part(folder: Path) -> _Part:
    try:
        config = configs.read_yaml(folder / "config.yaml")
        inputs = read_object(folder / "inputs.json")
        if not isinstance(config.get("shard"), str) or not inputs.keys() >= _INPUTS:
            raise UserError(f"{folder} is no shard of a run of rollouts; make it with: python -m paced_exp.rollout --shard PART/PARTS")
        shard = _shard(folder, config["shard"])
        if not (folder / "record.json").exists():
            raise UserError(f"{folder}, shard {config['shard']}, is not finished; run its command again, which continues it")
        record = read_checked(folder / "record.json", KIND)
        problems = load_problems(str(folder / "problems.parquet"))
    except FileNotFoundError as error:
        raise UserError(f"{folder} has no {Path(error.filename).name}; name the folders that the shards were rolled out into") from error
    except OSError as error:  # a file in place of a folder, a folder in place of a file, or no permission
        raise UserError(
            f"{error.filename or folder} cannot be read ({error.strerror or error}); name the folders that the shards were rolled out into"
        ) from error
    stores = [ChunkStore(folder, path.stem) for path in sorted(folder.glob("rollouts*.jsonl"))]
    return _Part(folder, shard, config, inputs, record, problems, stores)


def _shard(folder: Path, text: str) -> Shard:
    try:
        return Shard.parse(text)
    except UserError as error:
        raise UserError(f"{folder / 'config.yaml'}: {error}") from error


def _check_complete(parts: Sequence[_Part]) -> None:
    """Raise `UserError` unless these are all parts of one run, each once."""
    total = parts[0].shard.total
    for before, part in itertools.pairwise(parts):
        if part.shard.total != total:
            raise UserError(f"{part.folder} is shard {part.shard}, and {parts[0].folder} is shard {parts[0].shard}: not of one run")
        if part.shard.number == before.shard.number:
            raise UserError(f"{before.folder} and {part.folder} are both shard {part.shard}; name each shard once")
    if missing := sorted({*range(1, total + 1)} - {part.shard.number for part in parts}):
        raise UserError(f"{len(parts)} of {total} shards are given; missing: {', '.join(f'{number}/{total}' for number in missing)}")


def _check_alike(parts: Sequence[_Part]) -> None:
    """Raise `UserError` if shards differ in their configuration, student or problems."""
    first = parts[0]
    known = configs.earlier(RolloutConfig)

    def identity(part: _Part) -> dict[str, Any]:
        return {name: value for name, value in part.config.items() if name not in _OF_A_SHARD}

    for part in parts[1:]:
        if differing := configs.differing(identity(first), identity(part), known):
            shown = ", ".join(differing).replace(" there, ", f" in {first.folder}, ").replace(" now)", f" in {part.folder})")
            raise UserError(f"{part.folder} is a shard of a run of another configuration; differing: {shown}")
        other = [name for name, value in first.inputs.items() if name != "problems" and part.inputs.get(name) != value]
        if other:
            raise UserError(f"{part.folder} and {first.folder} have other {', '.join(other)}; roll out one of them again")


def _stopping(config: RolloutConfig, parts: Sequence[_Part]) -> Stopping | None:
    if config.adaptive == "off" or config.law is None:
        return None
    nothing = np.zeros(0, dtype=np.int64)
    return Stopping.of(config.adaptive, config.K, config.seed, parse_law(config.law), (nothing, nothing))


def _check_rollouts(part: _Part, config: RolloutConfig, stopping: Stopping | None) -> None:
    """Raise `UserError` unless every problem has all of its rollouts, by the rule or K of them."""
    outcomes = pd.concat([store.outcomes() for store in part.stores]) if part.stores else pd.DataFrame({"problem_id": []})
    groups = {str(name): group for name, group in outcomes.groupby("problem_id")}
    for problem in part.problems:
        group = groups.pop(problem.id, None)
        samples = [] if group is None else sorted(group["sample"])
        n = len(samples)
        whole = samples == list(range(n))
        if stopping is None:
            whole = whole and n == config.K
        else:
            k = 0 if group is None else int(group["correct"].sum())
            whole = whole and n in stopping.looks and not stopping.goes_on(problem.id, k, n)
        if not whole:
            raise UserError(
                f"{part.folder} lacks rollouts of problem {problem.id!r}, which has {n}; delete its record.json and run its command again"
            )
    if groups:
        raise UserError(f"{part.folder} has rollouts of problem {next(iter(groups))!r}, which is none of its problems; roll it out again")
