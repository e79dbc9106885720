"""One weighted update in two processes: `python -m tests.support.trl_two_processes distillation|gkd|sft FOLDER` leaves rank0.json and rank1.json."""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from trl import DistillationConfig, SFTConfig

from paced_exp.integrations.trl import CountAgain, PacedDistillationTrainer, PacedSFTTrainer
from tests.support.forked_ranks import run_ranks
from tests.support.trl_setup import PROMPTS, WEIGHTS, chats, models, options, rows, run

SIZES = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "ddp_backend": "gloo"}


def distillation(folder: Path) -> tuple[Any, list[Any]]:
    seen: list[Any] = []

    class Watched(PacedDistillationTrainer):
        def _compute_loss(self, unwrapped_student: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
            for row in range(len(inputs["prompt_ids"])):
                prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()].tolist()
                response = inputs["completion_ids"][row][inputs["completion_mask"][row].bool()].tolist()
                seen.append((prompt + response, len(prompt), float(inputs["paced_weight"][row])))
            return super()._compute_loss(unwrapped_student, inputs, num_items_in_batch)

    config = options(folder, DistillationConfig, max_completion_length=8, **SIZES)
    trainer = Watched(args=config, train_dataset=rows(WEIGHTS), **models())
    counted = CountAgain(trainer, rows(WEIGHTS[:7]), always, every=1, K=3).count()  # seven problems: one process counts one twice
    assert (counted.problem_id, counted.k.tolist(), counted.K.tolist()) == ([f"sum{i}" for i in range(7)], [3] * 7, [3] * 7)
    return trainer, seen


def always(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [1.0] * len(prompts)


def sft(folder: Path) -> tuple[Any, list[Any]]:
    from datasets import Dataset

    seen: list[Any] = []
    own = models()
    del own["teacher_model"]
    data = [
        {"input_ids": [20 + i, 6, 7, *range(8, 9 + i)], "labels": [-100] * 3 + [*range(8, 9 + i)], "weight": WEIGHTS[i]}
        for i in range(len(PROMPTS))
    ]
    trainer = PacedSFTTrainer(args=options(folder, SFTConfig, **SIZES), train_dataset=Dataset.from_list(data), **own)
    collate = trainer.data_collator

    def watched(batch: list[dict[str, Any]]) -> Any:
        seen.extend((row["input_ids"], 3, row["weight"]) for row in batch)
        return collate(batch)

    trainer.data_collator = watched
    return trainer, seen


def gkd(folder: Path) -> tuple[Any, list[Any]]:
    from datasets import Dataset

    with warnings.catch_warnings(action="ignore"):  # that GKD is experimental
        from trl.experimental.gkd import GKDConfig

        from paced_exp.integrations.trl import PacedGKDTrainer

    seen: list[Any] = []
    config = options(folder, GKDConfig, lmbda=0.0, beta=0.0, max_length=64, **SIZES)
    trainer = PacedGKDTrainer(args=config, train_dataset=Dataset.from_dict({"messages": chats(), "weight": WEIGHTS}), **models())
    collate = trainer.data_collator

    def watched(batch: list[dict[str, Any]]) -> Any:
        for row in batch:
            alone = collate([row])  # without padding
            seen.append((alone["input_ids"][0].tolist(), int((alone["labels"][0] != -100).int().argmax()), row["weight"]))
        return collate(batch)

    trainer.data_collator = watched
    return trainer, seen


def main() -> None:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    trainer, seen = {"distillation": distillation, "gkd": gkd, "sft": sft}[kind](folder)
    (gradient,) = run(trainer)
    problems = [str(ids) for ids, *_ in seen]
    rank = os.environ["RANK"]
    (folder / f"rank{rank}.json").write_text(json.dumps({"gradient": gradient.tolist(), "seen": seen, "problems": problems}))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_ranks(2, main)
