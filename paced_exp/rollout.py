"""Roll out a student on a set of problems and estimate its pass rates.

    python -m paced_exp.rollout                                             # the lab's student on the lab's training problems
    python -m paced_exp.rollout --student Qwen/Qwen3-1.7B --problems hub:HuggingFaceH4/MATH-500 -K 8 --max-new-tokens 4096 --device cuda

Writes problems.parquet, rollouts.parquet, pass_rates.parquet and record.json into --out. Killed at any moment, the same command continues.
"""

import hashlib
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paced_exp import config as configs
from paced_exp.errors import UserError, exit_cleanly

KIND = "rollout"
FIFTHS = ("0.0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8-1.0")


@dataclass(frozen=True)
class RolloutConfig:
    """What to roll out and how.

    Attributes:
        student: lab:NAME, a folder, or a hub id
        problems: lab:SPLIT, a .jsonl or .parquet file, hub:NAME, or several joined by commas
        K: rollouts a problem
        limit: at most so many problems of each source; all of them when left out (the lab: the split's default size)
        columns: JSON object from a problem's field (id, prompt, answer, solution) to the column of your file that holds it
        temperature: of sampling; 0 is greedy decoding, which needs K = 1
        max_new_tokens: longest response; a rollout cut there counts as failed
        engine: of rollouts: hf (transformers) or vllm
        engine_options: JSON object for vllm, such as {"tensor_parallel_size": 2, "data_parallel_size": 4, "gpu_memory_utilization": 0.5}
        max_batch_tokens: of hf: largest rows x (prompt + max_new_tokens) decoded at once; by default what fits the memory
        device: auto, cpu, cuda, cuda:N
        dtype: auto (float32 on a CPU), float32, bfloat16 or float64
        seed: of the rollouts, and of the choice of problems
        out: folder of the run; the same command resumes it
    """

    student: str = "lab:student"
    problems: str = "lab:train"
    K: int = 8
    limit: int | None = None
    columns: dict[str, str] | None = None
    temperature: float = 1.0
    max_new_tokens: int = 128
    engine: str = "hf"
    engine_options: dict[str, Any] | None = None
    max_batch_tokens: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    out: str = "runs/rollout"

    def __post_init__(self) -> None:
        for name in ("K", "limit", "max_new_tokens", "max_batch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{'-K' if name == 'K' else '--' + name.replace('_', '-')} {value} must be at least 1")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"--temperature {self.temperature} must be a finite number of at least 0 (0 is greedy decoding)")
        if self.temperature == 0 and self.K > 1:
            raise UserError(f"--temperature 0 makes all {self.K} rollouts of a problem the same; give -K 1, or a temperature above 0")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed} must be at least 0")
        from paced_exp.rollouts.options import check_engine

        check_engine(self.engine, self.engine_options, self.max_batch_tokens)


def roll_out(config: RolloutConfig) -> tuple[Any, dict[str, Any]]:
    """Run (or resume) the rollouts; returns the pass rates (a DataFrame, see `pass_rates.pass_rates`) and the record.

    Raises `UserError` for anything the user can mend, among it a run folder whose rollouts are of other problems or another student.
    """
    from paced_exp.run_folder import RunFolder

    run = RunFolder(config.out, config)
    record = run.recorded(KIND, lambda: _roll_out(config, run))
    from paced_exp.pass_rates import read_pass_rates  # slow to import: only once the folder is this run's

    return read_pass_rates(run / "pass_rates.parquet", None), record


def _roll_out(config: RolloutConfig, run: Any) -> dict[str, Any]:
    from paced_exp.grading import Grader
    from paced_exp.pass_rates import Fingerprint, pass_rates, warn_of_truncation, write_pass_rates
    from paced_exp.problems import load_problems, save_problems
    from paced_exp.progress import progress
    from paced_exp.rollouts.collect import collect
    from paced_exp.rollouts.engines import Engines
    from paced_exp.rollouts.store import ChunkStore
    from paced_exp.run_folder import provenance

    engines = Engines(config.engine, config.engine_options, device=config.device, max_batch_tokens=config.max_batch_tokens)
    problems = load_problems(config.problems, limit=config.limit, seed=config.seed, columns=config.columns)
    student = engines.load(config.student, dtype=config.dtype)
    fingerprint = Fingerprint.of(student, temperature=config.temperature, max_new_tokens=config.max_new_tokens)
    engine = engines.of(student)
    store = ChunkStore(run.path, "rollouts")
    with Grader() as grader:
        stored = collect(
            problems,
            student,
            engine,
            grader,
            store,
            samples=config.K,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=config.seed,
            watch=lambda finished, sampled: bar.watch(finished, sampled),
        )
        # The folder is taken only now: a command that is refused leaves none behind to be in the way of its correction.
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
    write_pass_rates(run / "pass_rates.parquet", rates, fingerprint)
    warn_of_truncation(rates, config.max_new_tokens)
    return {
        "kind": KIND,
        "config": configs.as_dict(config),
        **summary(rates, [problem.source for problem in problems]),
        # Of the session that finished the run: what a resumed run had made before is not in it.
        "session": {"rollouts": made, "tokens": tokens, "seconds": round(seconds, 3)},
        "provenance": provenance(config.seed),
    }


def _claim(path: Path, inputs: dict[str, Any]) -> None:
    """Remember what this folder's rollouts are of; refuse to add rollouts of something else under the same names."""
    from paced_exp.json_files import read_object, write_json

    if not path.exists():
        write_json(path, inputs)
        return
    stored = read_object(path)
    differing = [name for name, value in inputs.items() if stored.get(name) != value]
    if differing:
        what = "the problems or their order" if differing == ["problems"] else f"the student's {' and '.join(differing)}"
        raise UserError(f"{path.parent} holds rollouts made before {what} changed; name another folder with --out, or delete this one")


def _hash(problems: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps(asdict(problem), sort_keys=True).encode())
    return f"sha256:{digest.hexdigest()}"


def summary(rates: Any, sources: Sequence[str]) -> dict[str, Any]:
    """Numbers of the summary table: one row a source and one for all, and the problems in each fifth of the pass-rate range.

    pass_rate_low and pass_rate_high: the mean pass rate's 95 % interval over problems, normal, or, where few problems differ from the
    commonest pass rate, `evaluation.metrics.bounded_interval`; null for a single problem.
    """
    import numpy as np

    from paced_exp.evaluation.metrics import bounded_interval, few_differ

    names = np.array(sources)
    distinct = sorted(set(sources))
    chosen = [(name, names == name) for name in distinct] if len(distinct) > 1 else []
    rows = []
    for name, mask in [*chosen, ("all", np.ones(len(names), dtype=bool))]:
        part = rates[mask]
        p, n = part["p_hat"].to_numpy(), len(part)
        ends: tuple[float | None, float | None] = None, None
        if n > 1 and few_differ(p):
            ends = bounded_interval(p, 0.0, 1.0, replicates=10_000, rng=np.random.default_rng(0))
        elif n > 1:
            half = 1.959964 * float(p.std(ddof=1)) / math.sqrt(n)
            ends = max(0.0, float(p.mean()) - half), min(1.0, float(p.mean()) + half)
        rows.append(
            {
                "source": name,
                "problems": n,
                "rollouts": int(part["K"].sum()),
                "pass_rate": float(p.mean()),
                "pass_rate_low": ends[0],
                "pass_rate_high": ends[1],
                "never_passed": int((part["k"] == 0).sum()),
                "always_passed": int((part["k"] == part["K"]).sum()),
                "truncated_share": float((part["truncated_share"] * part["K"]).sum() / part["K"].sum()),
                "mean_tokens": float((part["mean_tokens"] * part["K"]).sum() / part["K"].sum()),
            }
        )
    # Exact in integers: 5 k // K puts k / K into its fifth, the last one closed.
    fifths = np.bincount(np.minimum(5 * rates["k"].to_numpy() // rates["K"].to_numpy(), 4), minlength=5)
    return {"sources": rows, "fifths": dict(zip(FIFTHS, fifths.tolist(), strict=True))}


def table(record: dict[str, Any]) -> str:
    """The record as a table for the terminal."""
    width = max(len(row["source"]) for row in record["sources"])
    lines = [
        f"{'source':<{width}} {'problems':>8}  pass rate  {'95 % interval':<14}  {'k = 0':>6} {'k = K':>6}  {'cut off':>7} {'tokens':>7}"
    ]
    for row in record["sources"]:
        low, high = row["pass_rate_low"], row["pass_rate_high"]
        interval = "-" if low is None else f"[{low:.3f}, {high:.3f}]"
        lines.append(
            f"{row['source']:<{width}} {row['problems']:>8}  {row['pass_rate']:>9.3f}  {interval:<14}  {row['never_passed']:>6} "
            f"{row['always_passed']:>6}  {row['truncated_share']:>7.1%} {row['mean_tokens']:>7.1f}"
        )
    lines.append("problems by pass rate: " + ", ".join(f"{name}: {count}" for name, count in record["fifths"].items()))
    session = record["session"]
    if session["rollouts"]:
        rate, tokens = session["rollouts"] / session["seconds"], session["tokens"] / session["seconds"]
        lines.append(f"{session['rollouts']} rollouts in {session['seconds']:.1f} s: {rate:.0f} rollouts/s, {tokens:.0f} tokens/s")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: parse, roll out, print the summary."""
    config = configs.parse(RolloutConfig, argv, "paced_exp.rollout", "Rollouts of a student and its pass rates.")
    _, record = roll_out(config)
    print(table(record))
    for name in ("rollouts.parquet", "pass_rates.parquet"):
        print(Path(config.out) / name)


if __name__ == "__main__":
    exit_cleanly(lambda: main(sys.argv[1:]))
