"""The store of rollouts at the paper's scale: seconds and memory to open, count and finish a journal.

    python -m bench.store                       # 5,000 problems x 8 rollouts x 3,000 tokens (1.3 GB in a temporary folder), into results/bench/store.json

Every stage is a process of its own; its memory is the peak of its resident set beyond what it held before the stage, the
interpreter and all imports. The journal is read warm, as after writing it. `earlier` is a journal of the same rows without heads and
checksums, as versions before this format wrote it, which has to be parsed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_checked
from paced_exp.core.run_folder import provenance
from paced_exp.rollouts.pass_rates import pass_rates
from paced_exp.rollouts.store import ChunkStore

OUT = Path(__file__).resolve().parent.parent / "results" / "bench" / "store.json"
STAGES = ("open", "open and count", "open and finish", "earlier: open and count")
_VOCABULARY = 150_000


def problems(count: int, samples: int, tokens: int) -> Iterator[list[dict[str, Any]]]:
    """The rows of one problem after another: random ids, four letters of text a token."""
    rng = np.random.default_rng(0)
    for index in range(count):
        ids = rng.integers(0, _VOCABULARY, (samples, tokens))
        yield [
            {
                "problem_id": f"problem-{index}",
                "sample": sample,
                "seed": index * samples + sample,
                "token_ids": ids[sample].tolist(),
                "finished": True,
                "response": "word" * tokens,
                "correct": bool(ids[sample, 0] % 2),
            }
            for sample in range(samples)
        ]


def write(folder: Path, count: int, samples: int, tokens: int) -> None:
    """The rows of all problems by `ChunkStore.append`, and in folder/earlier as earlier versions wrote them."""
    store = ChunkStore(folder, "rollouts")
    (folder / "earlier").mkdir()
    with (folder / "earlier" / "rollouts.jsonl").open("wb") as earlier:
        for rows in problems(count, samples, tokens):
            store.append(rows)
            earlier.write(json.dumps(rows, separators=(",", ":")).encode() + b"\n")


def peak_mib() -> float:
    """Peak resident set of this process so far."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def stage(name: str, folder: Path) -> dict[str, float]:
    """Seconds and MiB of one stage, in this process."""
    held, began, processor = peak_mib(), time.perf_counter(), time.process_time()
    store = ChunkStore(folder / "earlier" if name.startswith("earlier") else folder, "rollouts")
    if name.endswith("count"):
        pass_rates(store.outcomes())
    elif name.endswith("finish"):
        store.finalise()
    return {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - processor, "mib": peak_mib() - held}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the record."""
    parser = argparse.ArgumentParser(prog="bench.store", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=5000)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--stage", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.stage is not None:
        print(json.dumps(stage(arguments.stage[0], Path(arguments.stage[1]))))
        return
    size = {name: getattr(arguments, name) for name in ("problems", "samples", "tokens")}
    for name, value in size.items():
        if value < 1:
            raise UserError(f"--{name} {value} must be at least 1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, *size.values())
        rows: list[dict[str, Any]] = []
        for each in STAGES:
            command = [sys.executable, "-m", "bench.store", "--stage", each, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append({"stage": each, **json.loads(done.stdout)})
        mib = (folder / "rollouts.jsonl").stat().st_size / 2**20
    print(
        f"{size['problems']} problems x {size['samples']} x {size['tokens']} tokens: {mib:.0f} MiB\n{'stage':<24} {'s':>8} {'of processors':>14} {'MiB':>8}"
    )
    for row in rows:
        print(f"{row['stage']:<24} {row['seconds']:>8.2f} {row['processor_seconds']:>14.2f} {row['mib']:>8.0f}")
    write_checked(arguments.out, {"kind": "bench_store", "settings": size, "journal_mib": mib, "rows": rows, "provenance": provenance(0)})
    print(arguments.out)


if __name__ == "__main__":
    exit_cleanly(main)
