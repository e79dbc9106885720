"""The configuration of an evaluation."""

from dataclasses import dataclass, field

from paced_exp.core.errors import UserError
from paced_exp.core.options import RunOptions
from paced_exp.data.options import LimitedProblemOptions
from paced_exp.data.prompts import PromptKind
from paced_exp.rollouts.options import BatchedEngineOptions, SamplingOptions

KIND = "evaluation"
LAB_TIERS = "lab:mid,lab:hard-a,lab:hard-b,lab:retention"


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(SamplingOptions, LimitedProblemOptions, BatchedEngineOptions, RunOptions):
    """What is evaluated and how.

    Attributes:
        model: lab:NAME, smollm2, a folder (such as a distillation run's model), a GGUF file, or a hub id
        problems: lab:SPLIT, a .jsonl or .parquet file, hub:NAME, or several joined by commas, each with results of its own
        prompt: plain, concise (told to answer concisely) or privileged (the solution in the prompt); `against` may be an evaluation with another
        samples: responses per problem
        against: a model to compare with, or the folder of its finished evaluation with the same options
        retention: sources on which a drop of accuracy counts as forgetting
        temperature: sampling temperature; 0 is greedy decoding, which needs `samples` 1
        replicates: number of bootstrap resamples
        seed: seed of the samples, the choice of problems and the bootstrap
    """

    model: str = "lab:student"
    problems: str = LAB_TIERS
    # Added after cells had been run, whose keys must not change.
    prompt: PromptKind = field(default="plain", metadata={"omitted": True})
    samples: int = 8
    against: str | None = None
    retention: str = "lab:retention"
    replicates: int = 10_000
    out: str = "runs/evaluate"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "samples")
        self.at_least(100, "replicates")
        if self.temperature == 0 and self.samples > 1:
            raise UserError(
                f"`temperature` 0 makes all {self.samples} samples of a problem the same; give `samples` 1, or a temperature above 0"
            )
