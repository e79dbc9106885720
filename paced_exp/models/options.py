"""Options for the device and precision of models."""

from dataclasses import dataclass
from typing import Literal

from paced_exp.core.options import Options


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """Device and precision.

    Attributes:
        device: device of the models: auto (the GPU if there is one), cpu, cuda or cuda:N
        dtype: precision of the models: auto (float32 on a CPU), float32, bfloat16 or float64
    """

    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float64"] = "auto"
