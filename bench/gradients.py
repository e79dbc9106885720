"""Per-problem gradients: time and memory of the engine against a plain pass, dattri-llm, Opacus, and a loop of single passes.

    python -m bench.gradients                      # all of it, into results/bench/gradients.json
    python -m bench.gradients --problems 250 --sizes 0.1 --out /tmp/gradients.json

The plain pass and the engine have the fused loss, the default. Time is processor time on one thread, the contenders in turn on every
batch (`bench.timing`), as a ratio to the plain pass. The number of problems varies at the size 0.8 (the lab's models), the size at the
second of the numbers. Memory is every tensor allocated (`bench.memory`) on top of the parameters, on the batches of the smallest number,
relative to the plain pass. The size 135 is SmolLM2's shape with its 49,152 tokens (`subjects.LARGE`), on two dozen problems at most.
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bench import subjects
from bench.memory import peak_bytes
from bench.timing import interleaved, ratios
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_checked
from paced_exp.core.run_folder import provenance

OUT = Path(__file__).resolve().parent.parent / "results" / "bench" / "gradients.json"
MIDDLE = "0.8"
_LARGE_PROBLEMS, _LARGE_MEMORY = 24, 4  # of the large model at most, for time and for memory
Contenders = dict[str, Callable[[Any], subjects.Contender]]


def _problems(size: str, wanted: int, most: int = _LARGE_PROBLEMS) -> int:
    return min(wanted, most) if size == subjects.LARGE else wanted


def time_rows(size: str, problems: int, vocabulary: Any, contenders: Contenders) -> list[dict[str, Any]]:
    """Rows of one setting: seconds and ratios of every contender."""
    batches = subjects.batches_of(size, problems, vocabulary)
    for make in contenders.values():  # kernels are chosen and memory is mapped outside of the clock
        make(subjects.model_of(size, vocabulary))(batches[0][:2])
    models = {name: subjects.model_of(size, vocabulary) for name in contenders}
    seconds = interleaved({name: make(models[name]) for name, make in contenders.items()}, batches)
    later = ratios({name: values[1:] for name, values in seconds.items()}, "plain") if len(batches) > 1 else {}
    return [
        {
            "size": size,
            "parameters": sum(parameter.numel() for parameter in models[name].parameters()),
            "problems": problems,
            "batches": len(batches),
            "tokens": sum(len(prompt) + len(response) for batch in batches for prompt, response in batch),
            "contender": name,
            "seconds": sum(seconds[name]),
            **ratio,
            "total_after_first_batch": later[name]["total"] if later else None,
        }
        for name, ratio in ratios(seconds, "plain").items()
    ]


def memory_rows(size: str, problems: int, vocabulary: Any, contenders: Contenders) -> list[dict[str, Any]]:
    """Rows of one size: parameters and the peak above them."""
    batches = subjects.batches_of(size, problems, vocabulary)
    rows = []
    for name, make in contenders.items():
        model = subjects.model_of(size, vocabulary)
        own = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())

        def run(pieces: Sequence[subjects.Batch], make: Any = make, model: Any = model) -> None:
            contender = make(model)
            for piece in pieces:
                contender(piece)

        rows.append({"size": size, "contender": name, "problems": problems, "bytes": own + peak_bytes(lambda run=run: run(batches))})
    for row in rows:
        row["ratio"] = row["bytes"] / rows[0]["bytes"]
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the record."""
    parser = argparse.ArgumentParser(prog="bench.gradients", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, nargs="+", default=[250, 1000, 4000])
    sizes = [*subjects.SIZES, subjects.LARGE]
    parser.add_argument("--sizes", nargs="+", default=sizes, help=f"of {', '.join(sizes)} (millions of parameters)")
    parser.add_argument("--without-dattri", action="store_true", help="leave dattri-llm's rows out, where it is not installed")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    for size in arguments.sizes:
        if size not in sizes:
            raise UserError(f"--sizes {size} is not known; known: {', '.join(sizes)}")
    for problems in arguments.problems:
        if problems < 2:
            raise UserError(f"--problems {problems} must be at least 2")
    if not arguments.without_dattri:
        try:
            import dattri_llm as _  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError(
                "dattri-llm is not installed; install the bench extra (pip install -e '.[bench]') or give --without-dattri"
            ) from error
    warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)  # Opacus hooks layers that read tokens
    torch.set_num_threads(1)
    vocabulary = subjects.tokenizer()
    numbers = sorted(set(arguments.problems))
    second = numbers[min(1, len(numbers) - 1)]
    settings = dict.fromkeys(
        [(size, _problems(size, second)) for size in arguments.sizes] + [(MIDDLE, n) for n in numbers if MIDDLE in arguments.sizes]
    )
    record: dict[str, Any] = {"kind": "bench_gradients", "threads": 1, "provenance": provenance(0), "time": [], "memory": []}
    print(f"{'size':>4} {'problems':>8}  {'contender':<30} {'seconds':>8} {'ratio':>6} {'median':>7} {'quartiles':>13} {'later':>6}")
    for size, problems in settings:
        for row in time_rows(size, problems, vocabulary, subjects.contenders_of(size, arguments.without_dattri)):
            record["time"].append(row)
            print(
                f"{size:>4} {problems:>8}  {row['contender']:<30} {row['seconds']:>8.2f} {row['total']:>6.2f} {row['median']:>7.2f} "
                f"{row['quartile_low']:>6.2f} {row['quartile_high']:>6.2f} {row['total_after_first_batch'] or row['total']:>6.2f}",
                flush=True,
            )
        write_checked(arguments.out, record)  # after every setting: what is measured is kept, whatever stops the rest
    for size in arguments.sizes:
        contenders = subjects.contenders_of(size, arguments.without_dattri)
        for row in memory_rows(size, _problems(size, numbers[0], _LARGE_MEMORY), vocabulary, contenders):
            record["memory"].append(row)
            print(
                f"{size:>4} {row['problems']:>8}  {row['contender']:<30} {row['bytes'] / 2**20:>6.0f} MiB, {row['ratio']:.2f} of plain",
                flush=True,
            )
        write_checked(arguments.out, record)
    print(arguments.out)


if __name__ == "__main__":
    exit_cleanly(main)
