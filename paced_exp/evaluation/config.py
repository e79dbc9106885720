"""The options of an evaluation."""

import math
from dataclasses import dataclass
from typing import Any

from paced_exp.core.errors import UserError

KIND = "evaluation"


LAB_TIERS = "lab:mid,lab:hard-a,lab:hard-b,lab:retention"


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate and how.

    Attributes:
        model: lab:NAME, a folder (such as a distillation run's model), or a hub id
        problems: lab:SPLIT, a .jsonl or .parquet file, hub:NAME, or several joined by commas; results are given for each
        samples: responses a problem
        limit: at most so many problems of each source, drawn at random by the seed from a file or the hub; all of them when left out (the lab: the first of its stream, by default the split's size)
        columns: JSON object from a problem's field (id, prompt, answer, solution) to the column of your file that holds it
        skip_long: leave out the problems whose prompt and longest response exceed the model's context, instead of refusing all
        against: a model to compare with, or the folder of its finished evaluation with the same options
        retention: sources on which a drop counts as forgetting
        temperature: of sampling; 0 is greedy decoding, which needs `samples` 1
        max_new_tokens: longest response; one cut there counts as wrong
        engine: of rollouts: hf (transformers) or vllm
        engine_options: JSON object for vllm, such as {"tensor_parallel_size": 2, "data_parallel_size": 4, "gpu_memory_utilization": 0.5}
        max_batch_tokens: of hf: largest rows x (prompt + max_new_tokens) decoded at once; by default what fits the memory
        replicates: bootstrap draws
        device: auto, cpu, cuda, cuda:N
        dtype: auto (float32 on a CPU), float32, bfloat16 or float64
        seed: of the samples, the choice of problems and the bootstrap
        out: folder of the evaluation; the same command resumes it
    """

    model: str = "lab:student"
    problems: str = LAB_TIERS
    samples: int = 8
    limit: int | None = None
    columns: dict[str, str] | None = None
    skip_long: bool = False
    against: str | None = None
    retention: str = "lab:retention"
    temperature: float = 1.0
    max_new_tokens: int = 128
    engine: str = "hf"
    engine_options: dict[str, Any] | None = None
    max_batch_tokens: int | None = None
    replicates: int = 10_000
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    out: str = "runs/evaluate"

    def __post_init__(self) -> None:
        for name, least in {"samples": 1, "limit": 1, "max_new_tokens": 1, "max_batch_tokens": 1, "replicates": 100}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"`{name}` {value} must be at least {least}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"`temperature` {self.temperature} must be a finite number of at least 0 (0 is greedy decoding)")
        if self.temperature == 0 and self.samples > 1:
            raise UserError(
                f"`temperature` 0 makes all {self.samples} samples of a problem the same; give `samples` 1, or a temperature above 0"
            )
        if self.seed < 0:
            raise UserError(f"`seed` {self.seed} must be at least 0")
        from paced_exp.rollouts.options import check_engine

        check_engine(self.engine, self.engine_options, self.max_batch_tokens)
