"""The scales by name. Nothing else in this package knows which scale it is."""

from paced_exp.reproduce.desk_scales import DESK, DESK_V1, SMOKE
from paced_exp.reproduce.larger_scales import GPU, PAPER
from paced_exp.reproduce.scale import BENCHMARKS, MOST_SEEDS, ProbeVariant, Scale, Setup
from paced_exp.reproduce.smollm2_scale import SMOLLM2

SCALES = {scale.name: scale for scale in (DESK, DESK_V1, SMOLLM2, GPU, PAPER, SMOKE)}

__all__ = ["BENCHMARKS", "DESK", "DESK_V1", "GPU", "MOST_SEEDS", "PAPER", "SCALES", "SMOKE", "SMOLLM2", "ProbeVariant", "Scale", "Setup"]
