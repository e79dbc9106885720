"""The configuration of the compression of a model."""

from dataclasses import dataclass

from paced_exp.core.errors import UserError
from paced_exp.core.options import RunOptions
from paced_exp.evaluation.config import LAB_TIERS
from paced_exp.models.compressed.methods import parse_method
from paced_exp.rollouts.options import EngineOptions, SamplingOptions

KIND = "compression"
WHOLE = "whole"  # the name of the model as it was, beside the methods


@dataclass(frozen=True, kw_only=True)
class CompressConfig(SamplingOptions, EngineOptions, RunOptions):
    """What is compressed, how, and on what it is measured.

    Attributes:
        model: lab:NAME, smollm2, a folder (such as a distillation run's model), a GGUF file, or a hub id
        methods: ways to compress it, joined by commas: bf16, int8, int4, 2:4, magnitude:SHARE (set to zero), or a pruning and a format joined by +, such as 2:4+int8
        evaluate: problems to evaluate on: lab:SPLIT, a .jsonl or .parquet file, hub:NAME, or several joined by commas
        samples: responses per problem
        evaluate_limit: at most so many evaluation problems of each source, drawn at random from a file or the hub
        retention: evaluation sources on which a drop of accuracy counts as forgetting
        temperature: sampling temperature; 0 is greedy decoding, which needs `samples` 1
        seed: seed of the samples, the choice of problems and the bootstrap
    """

    model: str = "lab:student"
    methods: str = "int8,int4,2:4,magnitude:0.5,2:4+int8"
    evaluate: str = LAB_TIERS
    samples: int = 4
    evaluate_limit: int | None = None
    retention: str = "lab:retention"
    out: str = "runs/compress"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "samples", "evaluate_limit")
        if self.temperature == 0 and self.samples > 1:
            raise UserError(
                f"`temperature` 0 makes all {self.samples} samples of a problem the same; give `samples` 1, or a temperature above 0"
            )
        if repeated := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise UserError(f"`methods` names {repeated[0]} twice; name every method once")
        for name in self.names:
            parse_method(name)

    @property
    def names(self) -> list[str]:
        """The methods, as the user wrote them."""
        return [part.strip() for part in self.methods.split(",")]
