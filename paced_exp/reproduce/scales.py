"""The scales by name. Nothing else in this package knows which scale it is."""

from paced_exp.reproduce.desk_scales import DESK, DESK_V1, SMOKE
from paced_exp.reproduce.larger_scales import GPU, PAPER
from paced_exp.reproduce.scale import BENCHMARKS, MOST_SEEDS, ProbeVariant, Scale, Setup

SCALES = {scale.name: scale for scale in (DESK, DESK_V1, GPU, PAPER, SMOKE)}

__all__ = ["BENCHMARKS", "DESK", "DESK_V1", "GPU", "MOST_SEEDS", "PAPER", "SCALES", "SMOKE", "ProbeVariant", "Scale", "Setup"]
