"""Rollouts: how many a second the hf and the vllm engine and plain `model.generate` make of the same problems, start-up apart.

    python -m bench.rollouts                       # the lab's student on one core, into results/bench/rollouts.json
    python -m bench.rollouts --model smollm2-student --problems lab:easier-pool --limit 64 --samples 8 --max-new-tokens 96 --dtype bfloat16 \\
        --engines hf vllm --out results/bench/rollouts_smollm2.json
    python -m bench.rollouts --model Qwen/Qwen3-1.7B --problems hub:HuggingFaceH4/MATH-500 --max-new-tokens 4096 --device cuda

The engines take turns, `--rounds` times each. On a CPU both have one thread, and processor seconds (of the engine's process too) say what
a busy machine's clock cannot; on a GPU only the clock counts. `generate` is transformers' own sampling of the prompts as they come, unsorted.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bench.plain_generate import PlainGenerate
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_checked
from paced_exp.core.run_folder import provenance
from paced_exp.data.prompts import prompt_ids
from paced_exp.data.sources import load_problems
from paced_exp.rollouts.engine import Prompt, RolloutEngine, Sampling
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.options import EngineOptions
from paced_exp.rollouts.vllm import VLLMEngine

ENGINES = ("hf", "generate", "vllm")
GENERATE_ROWS = 128  # of 64, 128, 256 and 512, the fastest for the lab's student on one core
OUT = Path(__file__).resolve().parent.parent / "results" / "bench" / "rollouts.json"


def processor_seconds(engine: RolloutEngine) -> float:
    """Processor time of this process and the engine's own, all their threads."""
    ticks = 0
    for pid in engine.pids if isinstance(engine, VLLMEngine) else []:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def measure(engine: RolloutEngine, prompts: Sequence[Prompt], samples: int, max_new_tokens: int, seed: int) -> dict[str, float]:
    """One turn: rollouts and tokens made, seconds by the clock and of processors."""
    began, processor = time.perf_counter(), processor_seconds(engine)
    groups = list(engine.generate(prompts, Sampling(samples, max_new_tokens, temperature=1.0, seed=seed)))
    return {
        "rollouts": sum(map(len, groups)),
        "tokens": sum(len(rollout.token_ids) for group in groups for rollout in group),
        "seconds": time.perf_counter() - began,
        "processor_seconds": processor_seconds(engine) - processor,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the record."""
    parser = argparse.ArgumentParser(prog="bench.rollouts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lab:student")
    parser.add_argument("--problems", default="lab:mid")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", help="of the weights, of both engines")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--generate-rows", type=int, default=GENERATE_ROWS, help="responses in a batch of `generate`")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        raise UserError(f"--rounds {arguments.rounds} must be at least 1")
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the engines started below
    problems = load_problems(arguments.problems, limit=arguments.limit, seed=0)
    makers = {
        name: Engines(EngineOptions(engine="vllm" if name == "vllm" else "hf", device=arguments.device, dtype=arguments.dtype))
        for name in arguments.engines
    }
    models = {name: maker.load(arguments.model) for name, maker in makers.items()}
    prompts = [Prompt(problem.id, prompt_ids(models[arguments.engines[0]].tokenizer, problem)) for problem in problems]
    engines: dict[str, RolloutEngine] = {}
    rows: list[dict[str, Any]] = []
    for name, maker in makers.items():
        began, processor = time.perf_counter(), time.process_time()
        engines[name] = PlainGenerate(models[name], arguments.generate_rows) if name == "generate" else maker.of(models[name])
        # The first prompts start the engine, and map memory and choose kernels outside of the clock.
        measure(engines[name], prompts[:8], arguments.samples, arguments.max_new_tokens, 0)
        seconds, processor = time.perf_counter() - began, processor_seconds(engines[name]) - processor
        rows.append({"engine": name, "start_seconds": seconds, "start_processor_seconds": processor, "rounds": []})
    for number in range(arguments.rounds):
        for row in rows if number % 2 == 0 else reversed(rows):
            row["rounds"].append(measure(engines[row["engine"]], prompts, arguments.samples, arguments.max_new_tokens, number + 1))
    print(f"{'engine':<8} {'start s':>8} {'of processors':>14} {'rollouts/s':>11} {'tokens/s':>9} {'rollouts a core-second':>23}")
    for row in rows:
        for name, unit in (("rollouts", "seconds"), ("tokens", "seconds"), ("rollouts", "processor_seconds")):
            row[f"{name}_per_{unit.removesuffix('s')}"] = median(turn[name] / turn[unit] for turn in row["rounds"])
        print(
            f"{row['engine']:<8} {row['start_seconds']:>8.1f} {row['start_processor_seconds']:>14.1f} {row['rollouts_per_second']:>11.0f} "
            f"{row['tokens_per_second']:>9.0f} {row['rollouts_per_processor_second']:>23.0f}"
        )
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items() if name != "out"}
    write_checked(arguments.out, {"kind": "bench_rollouts", "settings": settings, "threads": 1, "rows": rows, "provenance": provenance(0)})
    print(arguments.out)


if __name__ == "__main__":
    exit_cleanly(main)
