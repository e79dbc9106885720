"""Evaluate a model on problems: mean@n, pass@k and response length with 95 % intervals over problems, and against another model.

    python -m paced_exp.evaluate                                             # the lab's student on the lab's three tiers and retention
    python -m paced_exp.evaluate --model runs/distill/model --against lab:student
    python -m paced_exp.evaluate --model Qwen/Qwen3-1.7B --problems hub:HuggingFaceH4/MATH-500,hub:HuggingFaceH4/aime_2024 \\
        --samples 8 --max-new-tokens 8192 --device cuda

Writes problems.parquet, rollouts.parquet (every sample with its text and seed, so that any number can be graded again), scores.parquet and
record.json into --out. Killed at any moment, the same command continues.
"""

import dataclasses
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paced_exp import config as configs
from paced_exp.errors import UserError, exit_cleanly

KIND = "evaluation"
LAB_TIERS = "lab:mid,lab:hard-a,lab:hard-b,lab:retention"


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate and how.

    Attributes:
        model: lab:NAME, a folder (such as a distillation run's model), or a hub id
        problems: lab:SPLIT, a .jsonl or .parquet file, hub:NAME, or several joined by commas; results are given for each
        samples: responses a problem
        limit: at most so many problems of each source; all of them when left out (the lab: the split's default size)
        columns: JSON object from a problem's field (id, prompt, answer, solution) to the column of your file that holds it
        against: a model to compare with, or the folder of its finished evaluation with the same options
        retention: sources on which a drop counts as forgetting
        temperature: of sampling; 0 is greedy decoding, which needs --samples 1
        max_new_tokens: longest response; one cut there counts as wrong
        engine: of rollouts: hf (transformers) or vllm
        engine_options: JSON object for vllm, such as {"tensor_parallel_size": 2, "data_parallel_size": 4, "gpu_memory_utilization": 0.5}
        max_batch_tokens: of hf: largest rows x (prompt + max_new_tokens) decoded at once; by default what fits the memory
        replicates: bootstrap draws
        device: auto, cpu, cuda, cuda:N
        dtype: auto (float32 on a CPU), float32, bfloat16 or float64
        seed: of the samples, the choice of problems and the bootstrap
        out: folder of the evaluation; the same command resumes it
    """

    model: str = "lab:student"
    problems: str = LAB_TIERS
    samples: int = 8
    limit: int | None = None
    columns: dict[str, str] | None = None
    against: str | None = None
    retention: str = "lab:retention"
    temperature: float = 1.0
    max_new_tokens: int = 128
    engine: str = "hf"
    engine_options: dict[str, Any] | None = None
    max_batch_tokens: int | None = None
    replicates: int = 10_000
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    out: str = "runs/evaluate"

    def __post_init__(self) -> None:
        for name, least in {"samples": 1, "limit": 1, "max_new_tokens": 1, "max_batch_tokens": 1, "replicates": 100}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')} {value} must be at least {least}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"--temperature {self.temperature} must be a finite number of at least 0 (0 is greedy decoding)")
        if self.temperature == 0 and self.samples > 1:
            raise UserError(
                f"--temperature 0 makes all {self.samples} samples of a problem the same; give --samples 1, or a temperature above 0"
            )
        if self.seed < 0:
            raise UserError(f"--seed {self.seed} must be at least 0")
        from paced_exp.rollouts.options import check_engine

        check_engine(self.engine, self.engine_options, self.max_batch_tokens)


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Run (or resume) the evaluation and return its record. Raises `UserError` for anything the user can mend."""
    from paced_exp.run_folder import RunFolder

    run = RunFolder(config.out, config)
    return run.recorded(KIND, lambda: _evaluate(config, run))


def _evaluate(config: EvaluateConfig, run: Any) -> dict[str, Any]:
    from paced_exp.evaluation.scores import comparison, summary
    from paced_exp.json_files import read_checked
    from paced_exp.parquet import read_table
    from paced_exp.run_folder import provenance

    base = None if config.against is None else _base_folder(config, config.against)
    began = time.perf_counter()
    table = _scores(config, run)
    seconds = time.perf_counter() - began
    record = {
        "kind": KIND,
        "config": configs.as_dict(config),
        "sources": summary(table, replicates=config.replicates, seed=config.seed),
        "against": None,
        "seconds": round(seconds, 3),
        "provenance": provenance(config.seed),
    }
    if base is not None:
        other = read_table(base / "scores.parquet").to_pandas()
        compared = comparison(table, other, replicates=config.replicates, seed=config.seed, retention=_retention(config))
        record["against"] = {"model": read_checked(base / "record.json", KIND)["config"]["model"], **compared}
    return record


def check_evaluation(config: EvaluateConfig) -> None:
    """Raise the `UserError` that `evaluate` would raise for its problems or for the evaluation to compare with, before hours of training."""
    _by_source(config)
    if config.against is not None and (Path(config.against) / "record.json").exists():
        _base_folder(config, config.against)


# Options that decide what is compared: two evaluations that differ in any of them are not paired.
_PAIRED = ("problems", "samples", "limit", "columns", "temperature", "max_new_tokens", "seed")


def _base_folder(config: EvaluateConfig, against: str) -> Path:
    """The folder of the base's finished evaluation: the one named, or one made here. Raises `UserError` for one with other options."""
    from paced_exp.json_files import read_checked, read_object

    folder = Path(against)
    record = folder / "record.json"
    if not record.exists() or read_object(record).get("kind") != KIND:
        out = Path(config.out)
        # Beside the folder, however it was spelt: ev/ and ev/. are ev, and . has its name from where it lies.
        out = out if out.name not in ("", "..") else Path(os.path.abspath(out))
        folder = out.with_name(f"{out.name}-against")
        evaluate(dataclasses.replace(config, model=against, against=None, out=str(folder)))
        return folder
    theirs, ours = read_checked(record, KIND)["config"], configs.as_dict(config)
    differing = [f"{name} ({theirs[name]!r} there, {ours[name]!r} now)" for name in _PAIRED if theirs[name] != ours[name]]
    if differing:
        raise UserError(
            f"--against {against} was evaluated with other options; differing: {', '.join(differing)}; give the same, or its model"
        )
    return folder


def _scores(config: EvaluateConfig, run: Any) -> Any:
    """Sample, grade and score; finished samples are read back."""
    import pyarrow as pa

    from paced_exp.evaluation.scores import scores
    from paced_exp.grading import Grader
    from paced_exp.parquet import write_table
    from paced_exp.problems import save_problems
    from paced_exp.progress import progress
    from paced_exp.rollouts.collect import collect
    from paced_exp.rollouts.engines import Engines
    from paced_exp.rollouts.store import ChunkStore

    engines = Engines(config.engine, config.engine_options, device=config.device, max_batch_tokens=config.max_batch_tokens)
    by_source = _by_source(config)
    problems = [problem for part in by_source.values() for problem in part]
    model = engines.load(config.model, dtype=config.dtype)
    engine = engines.of(model)
    store = ChunkStore(run.path, "rollouts")
    with Grader() as grader:
        made = collect(
            problems,
            model,
            engine,
            grader,
            store,
            samples=config.samples,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=config.seed,
            watch=lambda finished, sampled: bar.watch(finished, sampled),
        )
        # The folder is taken only now: a command that is refused leaves none behind to be in the way of its correction.
        run.open().claim({"model": model.fingerprint, "problems": _content(problems)})
        save_problems(problems, run / "problems.parquet")
        stored = len(store.done_ids()) * config.samples
        with progress(len(problems) * config.samples, "rollouts", f"evaluate {config.model}", initial=stored) as bar:
            for _ in made:
                pass
    store.finalise(order=[problem.id for problem in problems])
    table = scores(store.outcomes(), {problem.id: name for name, part in by_source.items() for problem in part})
    write_table(run / "scores.parquet", pa.Table.from_pandas(table, preserve_index=False), None)
    return table


def _content(problems: Sequence[Any]) -> str:
    import hashlib
    import json

    return (
        "sha256:" + hashlib.sha256(json.dumps([dataclasses.asdict(problem) for problem in problems], sort_keys=True).encode()).hexdigest()
    )


def _retention(config: EvaluateConfig) -> list[str]:
    return [name.strip() for name in config.retention.split(",")]


def _by_source(config: EvaluateConfig) -> dict[str, list[Any]]:
    """The problems of each source, keyed as the user wrote it. Raises `UserError` for an id that occurs in two of them."""
    from paced_exp.problems import load_problems

    names = [config.problems] if Path(config.problems).is_file() else [part.strip() for part in config.problems.split(",")]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--problems names {repeated[0]} twice; name every source once")
    absent = [name for name in _retention(config) if name not in names]
    if absent and config.retention != EvaluateConfig.retention:
        raise UserError(
            f"--retention {absent[0]} is none of --problems {config.problems}; forgetting is measured on sources that are evaluated"
        )
    found = {name: load_problems(name, limit=config.limit, seed=config.seed, columns=config.columns) for name in names}
    sources: dict[str, str] = {}
    for name, problems in found.items():
        for problem in problems:
            if problem.id in sources:
                raise UserError(f"problem id {problem.id!r} occurs in {sources[problem.id]} and {name}; ids must differ across --problems")
            sources[problem.id] = name
    return found


def table(record: dict[str, Any]) -> str:
    """The record as a table for the terminal, in per cent and tokens."""
    samples = record["sources"][0]["samples"]
    mean, last = f"mean@{samples}", f"pass@{samples}"
    width = max(len("source"), *(len(row["source"]) for row in record["sources"]))
    lines = [f"{'source':<{width}} {'problems':>8}  {mean + ' %':<21}  {last + ' %':<21}  {'tokens':<22} {'cut off':>7}"]
    for row in record["sources"]:
        lines.append(
            f"{row['source']:<{width}} {row['problems']:>8}  {_interval(row['mean'], 100):<21}  {_interval(row['pass_at'][str(samples)], 100):<21}  "
            f"{_interval(row['tokens'], 1):<22} {row['truncated_share']:>7.1%}"
        )
    if record["against"] is not None:
        lines.append(f"paired differences to {record['against']['model']}:")
        for row in record["against"]["differences"]:
            lines.append(
                f"{row['source']:<{width}} {'':>8}  {_interval(row['mean'], 100, '+'):<21}  "
                f"{_interval(row['pass_at'][str(samples)], 100, '+'):<21}  {_interval(row['tokens'], 1, '+'):<22}"
            )
        if not record["against"]["forgetting"]:
            lines.append("forgetting: not measured, since none of --problems is named by --retention")
        for row in record["against"]["forgetting"]:
            lines.append(f"forgetting on {row['source']}: {_interval(row['drop'], 100, '+')} points")
    return "\n".join(lines)


def _interval(interval: dict[str, float | None], scale: float, sign: str = "") -> str:
    value, low, high = (None if number is None else scale * number for number in interval.values())
    text = f"{value:{sign}.1f}"
    return text if low is None else f"{text} [{low:{sign}.1f}, {high:{sign}.1f}]"


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: parse, evaluate, print the table."""
    config = configs.parse(EvaluateConfig, argv, "paced_exp.evaluate", "mean@n, pass@k and length of a model's responses, with intervals.")
    print(table(evaluate(config)))
    print(Path(config.out) / "record.json")


if __name__ == "__main__":
    exit_cleanly(lambda: main(sys.argv[1:]))
