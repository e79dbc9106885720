"""Command line of the lab.

python -m paced_exp.lab pretrain student        # rebuild a checkpoint from its seed into runs/lab/student/checkpoint
python -m paced_exp.lab pretrain gpu-teacher --device cuda --workers 12         # a model of the gpu scale, on a GPU
python -m paced_exp.lab card student --checkpoint runs/lab/student/checkpoint   # measure it and write its model card
"""

import argparse
import sys
from pathlib import Path

from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.lab.recipes import GPU_SCALE, RECIPES
from paced_exp.models.lab_checkpoints import CHECKPOINTS, checkpoint_path


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="paced_exp.lab", description="Pretrain and measure the lab's models.")
    commands = parser.add_subparsers(dest="command", required=True)
    pretrain = commands.add_parser("pretrain", help="train a checkpoint from its seed; resumes where it was stopped")
    pretrain.add_argument("name", choices=[*RECIPES, *GPU_SCALE])
    pretrain.add_argument("--out", type=Path, help="folder of the run (default: runs/lab/NAME)")
    pretrain.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    pretrain.add_argument("--workers", type=int, default=0, help="processes that make the examples (default: 0, the training process does)")
    pretrain.add_argument(
        "--threads", type=int, default=2, help="processor threads (default: 2); the weights depend on it in the last bits"
    )
    card = commands.add_parser("card", help="measure a checkpoint and write README.md and card.json into it")
    card.add_argument("name", choices=CHECKPOINTS)
    card.add_argument("--checkpoint", type=Path, help="folder of the checkpoint (default: the shipped one)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point; see the module's docstring."""
    arguments = _arguments(argv)
    try:
        _run(arguments)
    except UserError as error:
        raise error.in_flags(vars(arguments)) from error


def _run(arguments: argparse.Namespace) -> None:
    if arguments.command == "pretrain":
        from paced_exp.lab.pretrain import pretrain
        from paced_exp.models.loading import device_named

        if arguments.threads < 1:
            raise UserError(f"`threads` {arguments.threads} must be at least 1")
        if arguments.workers < 0:
            raise UserError(f"`workers` {arguments.workers} must be at least 0")
        device = str(device_named(arguments.device))
        folder = arguments.out or Path("runs/lab") / arguments.name
        recipe = {**RECIPES, **GPU_SCALE}[arguments.name]
        print(pretrain(arguments.name, recipe, folder, arguments.threads, device=device, workers=arguments.workers))
    else:
        from paced_exp.lab.card import write_card

        print(write_card(arguments.name, arguments.checkpoint or checkpoint_path(arguments.name)))


if __name__ == "__main__":
    exit_cleanly(lambda: main(sys.argv[1:]))
