"""Command line of the lab.

python -m paced_exp.lab pretrain student        # rebuild a checkpoint from its seed into runs/lab/student/checkpoint
python -m paced_exp.lab pretrain student-concise # a student whose concise mode keeps every step's result, for concise self-distillation
python -m paced_exp.lab pretrain gpu-teacher --device cuda --workers 12         # train a model of the gpu scale on a GPU
python -m paced_exp.lab finetune smollm2-student # an adapter of SmolLM2-135M-Instruct into runs/lab/smollm2-student/adapter
python -m paced_exp.lab card student --checkpoint runs/lab/student/checkpoint   # measure it and write its model card
python -m paced_exp.lab card smollm2-student --checkpoint runs/lab/smollm2-student/adapter   # ... of an adapter, with the gates it must pass
"""

import sys
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Literal

from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.core.json_files import read_json
from paced_exp.core.options import Options, check_known
from paced_exp.models.lab_checkpoints import ADAPTERS, CHECKPOINTS, adapter_path, checkpoint_path


@dataclass(frozen=True)
class PretrainConfig(Options):
    """Pretraining.

    Attributes:
        name: teacher, student, teacher-llama or student-llama; student-concise; student-0.1m or student-5m; with the prefix gpu- a model of the gpu scale
        out: folder of the run (by default runs/lab/NAME)
        device: cpu, cuda or cuda:N
        workers: processes that make the examples; 0 makes them in the training process
        threads: processor threads; another number changes the last bits of the weights
    """

    name: str
    _: KW_ONLY
    out: Path | None = None
    device: str = "cpu"
    workers: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(0, "workers")
        self.at_least(1, "threads")


@dataclass(frozen=True)
class CardConfig(Options):
    """Model card.

    Attributes:
        name: teacher, student, teacher-llama, student-llama, smollm2-student or smollm2-teacher
        checkpoint: folder of the checkpoint or adapter (by default the shipped one)
    """

    name: str
    _: KW_ONLY
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("name", self.name, (*CHECKPOINTS, *ADAPTERS))


@configs.command(PretrainConfig, "paced_exp.lab pretrain", "Train a checkpoint from its seed.")
def pretrain_command(config: PretrainConfig) -> None:
    """Train a checkpoint from its seed. The same command resumes a stopped run."""
    from paced_exp.lab.pretrain import pretrain  # torch takes seconds to load, and a bad option should not
    from paced_exp.lab.recipes import CONCISE_MODE, GPU_SCALE, RECIPES, SIZES
    from paced_exp.models.loading import device_named

    recipes = {**RECIPES, **CONCISE_MODE, **GPU_SCALE, **SIZES}
    check_known("name", config.name, tuple(recipes))
    device = str(device_named(config.device))
    folder = config.out or Path("runs/lab") / config.name
    print(pretrain(config.name, recipes[config.name], folder, config.threads, device=device, workers=config.workers))


@dataclass(frozen=True)
class FinetuneConfig(Options):
    """Fine-tuning.

    Attributes:
        name: smollm2-student or smollm2-teacher
        out: folder of the run (by default runs/lab/NAME)
        device: cpu, cuda or cuda:N
        threads: processor threads; another number changes the last bits of the weights
        precision: float32, or bf16, which is faster where the processor or GPU multiplies in it
    """

    name: str
    _: KW_ONLY
    out: Path | None = None
    device: str = "cpu"
    threads: int = 2
    precision: Literal["float32", "bf16"] = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "threads")


@configs.command(FinetuneConfig, "paced_exp.lab finetune", "Fine-tune a pretrained model on worked solutions.")
def finetune_command(config: FinetuneConfig) -> None:
    """Make an adapter from its seed. The same command resumes a stopped run."""
    from paced_exp.lab.finetune import finetune  # torch takes seconds to load, and a bad option should not
    from paced_exp.lab.finetune_recipes import FINETUNED
    from paced_exp.models.loading import device_named

    check_known("name", config.name, tuple(FINETUNED))
    folder = config.out or Path("runs/lab") / config.name
    recipe = replace(FINETUNED[config.name], precision=config.precision)
    print(finetune(config.name, recipe, folder, config.threads, device=str(device_named(config.device))))


@configs.command(CardConfig, "paced_exp.lab card", "Measure a checkpoint and write its model card.")
def card_command(config: CardConfig) -> None:
    """Measure a checkpoint or an adapter and write README.md and card.json into it. Exit status 1 where an adapter does not pass its gates."""
    if config.name in ADAPTERS:
        from paced_exp.lab.adapter_card import write_adapter_card  # loads torch

        path = write_adapter_card(config.name, config.checkpoint or adapter_path(config.name))
        print(path)
        if failed := [gate["what"] for gate in read_json(path.with_name("card.json"))["gates"] if not gate["passed"]]:
            print(f"not passed: {'; '.join(failed)}", file=sys.stderr)
            sys.exit(1)
        return
    from paced_exp.lab.card import write_card

    print(write_card(config.name, config.checkpoint or checkpoint_path(config.name)))


main = configs.subcommands("paced_exp.lab", __doc__, {"pretrain": pretrain_command, "finetune": finetune_command, "card": card_command})

if __name__ == "__main__":
    exit_cleanly(main)
