"""What other work on the machine costs: rollouts a second alone, beside one busy process, and beside two.

    python -m bench.busy           # the lab's student, into results/bench/busy.json: about three minutes on an idle machine

Every contender is a process of its own, since a thread's way of waiting is fixed when its library is loaded: the program as it is
(threads that sleep), threads that spin as OpenMP's default has them, and one thread. They take turns within each load. `share` is the rate
beside the busy processes as a part of the rate alone; `fair` is what the machine's cores leave if every runnable thread gets as much:
min(1, cores / (threads + busy processes)) of the rate alone.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from paced_exp.core.errors import UserError, exit_cleanly

OUT = Path(__file__).resolve().parent.parent / "results" / "bench" / "busy.json"
CONTENDERS = {
    "as it is": {},
    "spinning": {"GOMP_SPINCOUNT": "300000"},  # libgomp's own default, which it takes where no policy is set
    "one thread": {"OMP_NUM_THREADS": "1"},
}
_BUSY = "while True: sum(range(1000))"


def rate(problems: int) -> dict[str, float]:
    """Rollouts a second of this process, by the clock and by processor time; the first problems run outside of the clock."""
    import torch

    from paced_exp.data.prompts import prompt_ids
    from paced_exp.data.sources import load_problems
    from paced_exp.rollouts.engine import Prompt, Sampling
    from paced_exp.rollouts.engines import Engines
    from paced_exp.rollouts.options import EngineOptions

    engines = Engines(EngineOptions(device="cpu"))
    student = engines.load("lab:student")
    engine = engines.of(student)
    prompts = [Prompt(p.id, prompt_ids(student.tokenizer, p)) for p in load_problems("lab:mid", limit=problems, seed=0)]
    list(engine.generate(prompts[:8], Sampling(8, 128, temperature=1.0, seed=1)))
    began, processor = time.perf_counter(), time.process_time()
    made = sum(len(group) for group in engine.generate(prompts, Sampling(8, 128, temperature=1.0, seed=0)))
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    return {"threads": torch.get_num_threads(), "per_second": made / seconds, "per_processor_second": made / processor}


def _measured(environment: dict[str, str], problems: int) -> dict[str, float]:
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT")}
    command = [sys.executable, "-m", "bench.busy", "--worker", "--problems", str(problems)]
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"a contender stopped with status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    values: dict[str, float] = json.loads(done.stdout)
    return values


def measure(busy: int, problems: int, rounds: int) -> list[dict[str, Any]]:
    """A row a contender beside `busy` busy processes: the median of `rounds` turns."""
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, environment in CONTENDERS.items():
            others = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(busy)]
            try:
                turns[name].append(_measured(environment, problems))
            finally:
                for other in others:
                    other.kill()
                    other.wait()
    return [
        {"contender": name, "busy": busy, **{key: median(turn[key] for turn in rows) for key in rows[0]}} for name, rows in turns.items()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the record."""
    parser = argparse.ArgumentParser(prog="bench.busy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    for name in ("problems", "rounds"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name} {getattr(arguments, name)} must be at least 1")
    if arguments.worker:
        print(json.dumps(rate(arguments.problems)))
        return
    from paced_exp.core.json_files import write_checked
    from paced_exp.core.run_folder import provenance

    rows = [row for busy in (0, 1, 2) for row in measure(busy, arguments.problems, arguments.rounds)]
    alone = {row["contender"]: row["per_second"] for row in rows if row["busy"] == 0}
    cores = len(os.sched_getaffinity(0))
    print(f"{'contender':<11} {'threads':>7} {'busy beside':>12} {'rollouts/s':>11} {'share':>6} {'fair':>6}")
    for row in rows:
        row["share"] = row["per_second"] / alone[row["contender"]]
        row["fair"] = min(1.0, cores / (row["threads"] + row["busy"]))
        print(
            f"{row['contender']:<11} {row['threads']:>7.0f} {row['busy']:>12} {row['per_second']:>11.0f} {row['share']:>6.2f} {row['fair']:>6.2f}"
        )
    settings = {"problems": arguments.problems, "samples": 8, "rounds": arguments.rounds}
    write_checked(arguments.out, {"kind": "bench_busy", "settings": settings, "cores": cores, "rows": rows, "provenance": provenance(0)})
    print(arguments.out)


if __name__ == "__main__":
    exit_cleanly(main)
