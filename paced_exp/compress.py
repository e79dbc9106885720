"""Compress a model after training: round its weights to few bits, prune them, and measure what accuracy is kept at what size.

    python -m paced_exp.compress --model runs/distill/model                             # int8, int4, 2:4 and half of the weights
    python -m paced_exp.compress --model runs/distill/model --methods int4,2:4+int4,magnitude:0.7

Weight-only: only the matrices of the blocks' linear layers change, and nothing is trained afterwards. Each method's folder in --out holds
packed.safetensors, whose size is the one reported, and model/, the same weights unpacked, which any command here reads. record.json holds sizes,
accuracy and the difference to the model as it was, with intervals. After a kill, the same command continues.
"""

from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.evaluation.compress_config import CompressConfig


@configs.command(CompressConfig, "paced_exp.compress", "Quantise and prune a model, and measure accuracy and size.")
def main(config: CompressConfig) -> None:
    """Compress, evaluate and print the table."""
    from paced_exp.evaluation.compress_run import compress  # torch takes seconds to load, and a bad option should not
    from paced_exp.evaluation.compress_table import compress_table

    print(compress_table(compress(config)))
    print(Path(config.out) / "record.json")


if __name__ == "__main__":
    exit_cleanly(main)
