"""A distillation step: forward KL with a live teacher and with a cached one, against TRL's two; and an epoch without its dropped problems.

    python -m bench.distill                         # into results/bench/distill.json; needs the bench extra (TRL)
    python -m bench.distill --problems 64 --without-trl --out /tmp/distill.json

Student and teacher have the lab models' shape and read the same prompts, which is all that TRL's GKD and distillation trainers do. A step
is the loss and its gradient on one micro-batch of worked solutions, sorted by length; the optimiser's update, the same for all, is left
out. Time is processor time on one thread, the contenders in turn on every batch (`bench.timing`).
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import subjects
from bench.timing import interleaved, ratios
from bench.trl_steps import Step, distillation_step, gkd_step
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_checked
from paced_exp.core.run_folder import provenance
from paced_exp.losses.alignment import Row, collate
from paced_exp.losses.fused_loss import FusedLoss
from paced_exp.losses.heads import plain_head
from paced_exp.losses.kl import ForwardKL
from paced_exp.losses.problem_loss import ProblemLoss
from paced_exp.training.teacher_cache import CachedTeacher
from paced_exp.training.teachers import ModelTeacher, Teacher, frozen_copy
from paced_exp.weighting import Weighting, weigh

OUT = Path(__file__).resolve().parent.parent / "results" / "bench" / "distill.json"
SIZE = "0.8"  # of the lab models, among `subjects.SIZES`
MICRO_BATCH = 16
PAD = 0


def rows_of(problems: int, vocabulary: Any) -> list[Row]:
    """The first lab:train problems with their worked solutions, by length."""
    pairs = [pair for batch in subjects.batches_of(SIZE, problems, vocabulary) for pair in batch]
    return [Row(str(number), prompt, prompt, response, [True] * len(response), 1.0) for number, (prompt, response) in enumerate(pairs)]


def micro_batches(rows: list[Row]) -> list[list[Row]]:
    """`rows` in micro-batches, in order."""
    return [rows[start : start + MICRO_BATCH] for start in range(0, len(rows), MICRO_BATCH)]


def ours(student: Any, teacher: Teacher) -> Step:
    """The trainer's own step, with its default loss: collating, both forward passes (or the cache), the reduction, the backward pass."""
    loss = FusedLoss(ProblemLoss(ForwardKL()), plain_head(student, "student"))

    def run(rows: list[Row]) -> torch.Tensor:
        batch = collate(rows, PAD)
        total, _ = loss.weighted(student, batch, teacher.targets(batch), 1, 1)
        total.backward()
        return total.detach()

    return run


def step_rows(rows: list[Row], vocabulary: Any, without_trl: bool) -> list[dict[str, Any]]:
    """Seconds and ratios of every way to make a step."""
    teacher = frozen_copy(subjects.model_of(SIZE, vocabulary))
    with tempfile.TemporaryDirectory() as folder:
        cache = CachedTeacher(Path(folder), ModelTeacher(teacher), "bench", pad_id=PAD)
        cache.prepare(rows)
        made: dict[str, Callable[[Any], Step]] = {
            "live teacher": lambda student: ours(student, ModelTeacher(teacher, states=True)),
            "cached teacher": lambda student: ours(student, cache),
        }
        if not without_trl:
            made["TRL GKD"] = lambda student: gkd_step(student, teacher, PAD)
            made["TRL Distillation"] = lambda student: distillation_step(student, teacher, PAD)
        steps = {name: make(subjects.model_of(SIZE, vocabulary)) for name, make in made.items()}
        for step in steps.values():  # kernels are chosen and memory is mapped outside of the clock
            step(rows[:2])
        seconds = interleaved(steps, micro_batches(rows))
    return [{"contender": name, "seconds": sum(seconds[name]), **ratio} for name, ratio in ratios(seconds, "live teacher").items()]


def epoch_rows(rows: list[Row], vocabulary: Any) -> list[dict[str, Any]]:
    """An epoch with problems of weight zero kept and dropped: pass rates uniform on [0, 1], 8 rollouts, PACED's plug-in weights."""
    rng = np.random.default_rng(0)
    k = rng.binomial(8, rng.uniform(size=len(rows)))
    kept = weigh(Weighting("paced"), k, np.full(len(rows), 8)).kept
    teacher = ModelTeacher(frozen_copy(subjects.model_of(SIZE, vocabulary)), states=True)
    epochs = {"kept": rows, "dropped": [rows[index] for index in kept.tolist()]}
    steps = {name: ours(subjects.model_of(SIZE, vocabulary), teacher) for name in epochs}

    def epoch(name: str) -> Callable[[int], None]:
        def run(_: int) -> None:
            for batch in micro_batches(epochs[name]):
                steps[name](batch)

        return run

    seconds = interleaved({name: epoch(name) for name in epochs}, range(3))
    return [
        {"zero weights": name, "problems": len(epochs[name]), "seconds": sum(seconds[name]), **ratio}
        for name, ratio in ratios(seconds, "kept").items()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the tables, write the record."""
    parser = argparse.ArgumentParser(prog="bench.distill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=512)
    parser.add_argument("--without-trl", action="store_true", help="leave TRL's row out, where TRL is not installed")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    if arguments.problems < MICRO_BATCH:
        raise UserError(f"--problems {arguments.problems} must be at least {MICRO_BATCH}")
    warnings.filterwarnings("ignore", category=FutureWarning, module="trl")
    if not arguments.without_trl:
        try:
            import trl as _  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError("TRL is not installed; install the bench extra (pip install -e '.[bench]') or give --without-trl") from error
    torch.set_num_threads(1)
    vocabulary = subjects.tokenizer()
    rows = rows_of(arguments.problems, vocabulary)
    steps, epochs = step_rows(rows, vocabulary, arguments.without_trl), epoch_rows(rows, vocabulary)
    for row in [*steps, *epochs]:
        name = row.get("contender") or f"zero weights {row['zero weights']}, {row['problems']} problems"
        print(
            f"{name:<34} {row['seconds']:>8.2f} s  ratio {row['total']:.3f}, quartiles {row['quartile_low']:.3f} {row['quartile_high']:.3f}"
        )
    tokens = sum(row.student_tokens for row in rows)
    record = {"kind": "bench_distill", "threads": 1, "problems": len(rows), "tokens": tokens, "step": steps, "epoch": epochs}
    write_checked(arguments.out, record | {"provenance": provenance(0)})
    print(arguments.out)


if __name__ == "__main__":
    exit_cleanly(main)
