"""The options of rollouts for pass rates."""

import math
from dataclasses import dataclass
from typing import Any

from paced_exp.core.errors import UserError

KIND = "rollout"


@dataclass(frozen=True)
class RolloutConfig:
    """What to roll out and how.

    Attributes:
        student: lab:NAME, a folder, or a hub id
        problems: lab:SPLIT, a .jsonl or .parquet file, hub:NAME, or several joined by commas
        K: rollouts a problem
        limit: at most so many problems of each source, drawn at random by the seed from a file or the hub; all of them when left out (the lab: the first of its stream, by default the split's size)
        columns: JSON object from a problem's field (id, prompt, answer, solution) to the column of your file that holds it
        skip_long: leave out the problems whose prompt and longest response exceed the model's context, instead of refusing all
        temperature: of sampling; 0 is greedy decoding, which needs K = 1
        max_new_tokens: longest response; a rollout cut there counts as failed
        engine: of rollouts: hf (transformers) or vllm
        engine_options: JSON object for vllm, such as {"tensor_parallel_size": 2, "data_parallel_size": 4, "gpu_memory_utilization": 0.5}
        max_batch_tokens: of hf: largest rows x (prompt + max_new_tokens) decoded at once; by default what fits the memory
        device: auto, cpu, cuda, cuda:N
        dtype: auto (float32 on a CPU), float32, bfloat16 or float64
        seed: of the rollouts, and of the choice of problems
        out: folder of the run; the same command resumes it
    """

    student: str = "lab:student"
    problems: str = "lab:train"
    K: int = 8
    limit: int | None = None
    columns: dict[str, str] | None = None
    skip_long: bool = False
    temperature: float = 1.0
    max_new_tokens: int = 128
    engine: str = "hf"
    engine_options: dict[str, Any] | None = None
    max_batch_tokens: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    out: str = "runs/rollout"

    def __post_init__(self) -> None:
        for name in ("K", "limit", "max_new_tokens", "max_batch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"`{name}` {value} must be at least 1")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"`temperature` {self.temperature} must be a finite number of at least 0 (0 is greedy decoding)")
        if self.temperature == 0 and self.K > 1:
            raise UserError(f"`temperature` 0 makes all {self.K} rollouts of a problem the same; give `K` 1, or a temperature above 0")
        if self.seed < 0:
            raise UserError(f"`seed` {self.seed} must be at least 0")
        from paced_exp.rollouts.options import check_engine

        check_engine(self.engine, self.engine_options, self.max_batch_tokens)
