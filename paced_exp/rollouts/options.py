"""What `engine` and `engine_options` may say; checked before anything is loaded."""

from typing import Any

from paced_exp.core.errors import UserError

ENGINES = ("hf", "vllm")

# Options of vLLM that decide how fast an engine is and what memory it takes, and not what it samples. The first three place it on devices.
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


def check_engine(name: str, options: dict[str, Any] | None, max_batch_tokens: int | None = None) -> None:
    """Raise `UserError` for an engine that is not known, or options that are not its own or make no sense.

    name, options, max_batch_tokens: of `engine`, `engine_options` and `max_batch_tokens`.
    """
    if name not in ENGINES:
        raise UserError(f"`engine` {name} is not known; known: {', '.join(ENGINES)}")
    if name == "hf" and options:
        raise UserError("`engine_options` are of `engine` vllm; leave them out, or take that engine")
    if name == "vllm" and max_batch_tokens is not None:
        raise UserError("`max_batch_tokens` is of `engine` hf; for vllm give `engine_options` '{\"max_num_batched_tokens\": ...}'")
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
