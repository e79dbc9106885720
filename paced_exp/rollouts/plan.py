"""`--dry-run MACHINE` of rollouts: memory and hours before anything starts, from the sizes of the model and of the problems alone."""

from collections.abc import Sequence

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.sources import load_problems
from paced_exp.models.machines import Machine, Needs, SamplingLoad, machine_named
from paced_exp.models.shapes import Shape, shape_of
from paced_exp.rollouts.config import RolloutConfig
from paced_exp.rollouts.options import EngineOptions
from paced_exp.rollouts.shards import Shard

CHARACTERS = 4  # of a prompt to a token, about
_VLLM_ROWS = 256  # its own default of max_num_seqs


def plan(config: RolloutConfig, machine: str) -> str:
    """What the rollouts of `config` need of a machine, as lines. Raises `UserError` where they do not fit."""
    place, shape = machine_named(machine), shape_of(config.student)
    problems = load_problems(config.problems, limit=config.limit, seed=config.seed, columns=config.columns)
    share = 1 if config.shard is None else Shard.parse(config.shard).total
    prompt = prompt_tokens(problems)
    sampling = sampling_of(shape, len(problems) * config.K / share, prompt, config.max_new_tokens, config, width_of(config.dtype))
    check_devices(sampling, place)
    lines = [
        f"student {config.student}: {shape.parameters:,} parameters; {len(problems):,} problems x {config.K}, prompts of {prompt:.0f} tokens "
        f"(characters / {CHARACTERS})" + (f", one of {share} parts" if share > 1 else "")
    ]
    fix = "take more devices (`engine` vllm, `engine_options` tensor_parallel_size), a larger machine, or a smaller `max_new_tokens`"
    words = f"{int(sampling.rollouts):,} rollouts{' at most, as if none stopped early' if config.adaptive != 'off' else ''}"
    return Needs(place, lines, memory_of(sampling, place), [(words, sampling.hours(place))], config.max_new_tokens, fix).text()


def width_of(dtype: str) -> int:
    """Bytes of a weight on a GPU."""
    return {"float64": 8, "float32": 4}.get(dtype, 2)


def prompt_tokens(problems: Sequence[Problem]) -> float:
    """Tokens of a prompt on average, by its characters."""
    return max(1.0, sum(len(problem.prompt) for problem in problems) / len(problems) / CHARACTERS)


def sampling_of(shape: Shape, rollouts: float, prompt: float, longest: int, engine: EngineOptions, width: int) -> SamplingLoad:
    """The sampling by the engine of these options. width: bytes of a weight."""
    options = engine.engine_options or {}
    devices = options.get("tensor_parallel_size", 1) * options.get("pipeline_parallel_size", 1)
    rows = options.get("max_num_seqs", _VLLM_ROWS) if engine.engine == "vllm" else None
    if (tokens := getattr(engine, "max_batch_tokens", None)) is not None:
        rows = max(1, int(tokens / (prompt + longest)))
    return SamplingLoad(
        rollouts=rollouts,
        prompt=prompt,
        longest=longest,
        parameters=shape.matmul_parameters,
        weights=float(width * shape.parameters),
        cache=shape.cache_bytes * width / 2,
        devices=devices,
        copies=options.get("data_parallel_size", 1),
        rows=rows,
    )


def memory_of(sampling: SamplingLoad, machine: Machine) -> list[tuple[str, float]]:
    """On each device: the weights, and the keys and values of as many responses as are sampled at once, at least of one."""
    rows = max(1, sampling.live(machine))
    cache = rows * (sampling.prompt + sampling.longest) * sampling.cache
    return [
        ("weights of the sampling model", sampling.weights / sampling.devices),
        (f"keys and values of {rows:,} responses of full length", cache / sampling.devices),
    ]


def check_devices(sampling: SamplingLoad, machine: Machine) -> None:
    """Raise `UserError` if the engine's options ask for more devices than there are."""
    if sampling.devices * sampling.copies > machine.devices:
        raise UserError(
            f"`dry_run` {machine.name} has {machine.devices} devices, and `engine_options` ask for {sampling.devices * sampling.copies} "
            f"(tensor x pipeline x data parallel); name a machine of that many, or lower them"
        )
