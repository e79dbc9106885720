"""Run a distillation in children that kill themselves with SIGKILL, one at each of `points(SEED)`.

    python -m tests.support.kill_distill SEED ARGUMENTS...

The children are forked from one process that has imported everything, so that a kill costs no start-up. Random points, drawn with SEED, are
between micro-batches; the others are boundaries. Fails where a child ends otherwise than by its kill.
"""

import random
import sys
from collections.abc import Callable
from typing import Any

import torch

import paced_exp.distill as distill
from paced_exp.training import run as training_run
from paced_exp.training.trainer import PacedTrainer
from tests.support.kill_probe import before_renaming, in_a_line, kill, kill_at_each


def at_micro_batch(update: int, number: int) -> Callable[[], None]:
    """Killed before the `number`-th micro-batch of update `update` (0 first), or later if the child starts behind it."""

    def patch() -> None:
        compute, seen = PacedTrainer.compute_loss, [0]

        def stop(self: PacedTrainer, *arguments: Any, **options: Any) -> Any:
            if self.state.global_step >= update:
                if seen[0] == number:
                    kill()
                seen[0] += 1
            return compute(self, *arguments, **options)

        PacedTrainer.compute_loss = stop  # type: ignore[method-assign]

    return patch


def in_a_checkpoint() -> None:
    """Killed when a checkpoint has its weights and nothing else."""

    def stop(self: PacedTrainer, folder: str) -> None:
        kill()

    PacedTrainer._save_optimizer_and_scheduler = stop  # type: ignore[method-assign]


def before_saving_the_model() -> None:
    """Killed between the last update and the model's folder."""
    training_run.save_model = lambda *_: kill()  # type: ignore[assignment]


def points(seed: int) -> dict[str, Callable[[], None]]:
    rng = random.Random(seed)
    # In ascending order, and before update 7: what is done at a point must not have been done when its child starts.
    updates = sorted(rng.sample(range(1, 7), 5))
    made: dict[str, Callable[[], None]] = {
        "pass rates": in_a_line("pass_rate_rollouts-000000.jsonl", 1),
        "references": in_a_line("references-000000.jsonl", 1),
        "in a checkpoint": in_a_checkpoint,
        "before a checkpoint's manifest": before_renaming("manifest.json"),
        "before a checkpoint's name": before_renaming("checkpoint-2"),
    }
    made |= {f"update {update}": at_micro_batch(update, rng.randrange(2)) for update in updates if update < 4}
    made["pass rates at the stage boundary"] = in_a_line("pass_rate_rollouts-000004.jsonl", 1)
    made["rollouts at the stage boundary"] = in_a_line("rollouts-000004.jsonl", 1)
    made |= {f"update {update}": at_micro_batch(update, rng.randrange(2)) for update in updates if update >= 4}
    made["rollouts between updates"] = in_a_line("rollouts-000007.jsonl", 1)
    made["before the model"] = before_saving_the_model
    made["trained"] = before_renaming("trained.json")
    made["record"] = before_renaming("record.json")
    return made


if __name__ == "__main__":
    torch.set_num_threads(1)
    kill_at_each(points(int(sys.argv[1])), distill.main, sys.argv[2:])
