"""`--dry-run MACHINE` of a distillation: memory and hours before anything starts, from the sizes of the models and of the problems alone."""

from dataclasses import replace

from paced_exp.data.sources import load_problems
from paced_exp.losses.chunked import CHUNK_ELEMENTS
from paced_exp.models.machines import PRODUCTS, Machine, Needs, SamplingLoad, machine_named
from paced_exp.models.shapes import Shape, shape_of
from paced_exp.rollouts.plan import CHARACTERS, check_devices, memory_of, prompt_tokens, sampling_of, width_of
from paced_exp.training.config import DistillConfig
from paced_exp.training.segments import make_segments
from paced_exp.training.stages import parse_stages

# Of AdamW in float32 a parameter: itself, its gradient, two moments. Of a layer a token: activations of width h, in 16 bits (Korthikanti et
# al. 2022, without the attention's matrix); with recomputation, its input alone.
STATES, ACTIVATIONS, _INPUT = 16, 34, 2
LOGITS = 3 * 4  # bytes of a logit in float32: the student's, its gradient, the teacher's


def plan(config: DistillConfig, machine: str) -> str:
    """What the run of `config` needs of a machine, on all of whose devices it is launched. Raises `UserError` where it does not fit."""
    place, student = machine_named(machine), shape_of(config.student)
    teacher = student if config.teacher == "self" else shape_of(config.teacher)
    problems = load_problems(config.problems, limit=config.limit, seed=config.seed, columns=config.columns)
    prompt, count = prompt_tokens(problems), len(problems)
    steps = config.updates(count)
    by_student = sampling_of(student, 0, prompt, config.max_new_tokens, config, _width_sampled(config))
    by_teacher = sampling_of(teacher, 0, prompt, config.max_new_tokens, config, width_of(config.dtype))
    sampled = _sampled(config, steps, count, by_student, by_teacher)
    for _, sampling in sampled:
        check_devices(sampling, place)
    hours = [(words, sampling.hours(place)) for words, sampling in sampled]
    hours.append((f"{steps:,} updates of {config.batch} problems", _updating(config, steps, prompt, student, teacher, place)))
    training = _memory(config, prompt, student, teacher, place)
    phases = [("training", training), *((words, memory_of(replace(one, rows=1), place)) for words, one in sampled)]
    worst, memory = max(phases, key=lambda phase: sum(size for _, size in phase[1]))
    lines = [
        f"student {config.student}: {student.parameters:,} parameters; teacher {config.teacher}: {teacher.parameters:,}",
        f"{count:,} problems, prompts of {prompt:.0f} tokens (characters / {CHARACTERS}); most memory is needed in: {worst}",
    ]
    fix = (
        "take a larger machine, a smaller `micro_batch` or `max_new_tokens`, or `training_arguments` "
        '\'{"fsdp": true, "gradient_checkpointing": true}\' with `loss` dense on several devices'
    )
    needs = Needs(place, lines, memory, hours, config.max_new_tokens, fix)
    return f"{needs.text()}\nwithout the evaluation"


def _sampled(config: DistillConfig, steps: int, count: int, student: SamplingLoad, teacher: SamplingLoad) -> list[tuple[str, SamplingLoad]]:
    """What is sampled, with words: pass rates, references, and the student's rollouts of stages on them."""
    stages = parse_stages(config.stages)
    found = []
    if config.needs_pass_rates:
        times = sum(segment.recompute for segment in make_segments(stages, steps, config.recompute)) + (config.pass_rates is None)
        if times:
            found.append((f"pass rates: {times * count * config.K:,} rollouts", replace(student, rollouts=float(times * count * config.K))))
    on_references = any(stage.source == "references" for stage in stages)
    if on_references and config.reference == "teacher" and config.references is None:
        visited = min(count, steps * config.batch) if config.regime == "one-pass" else count
        number = visited * config.candidates
        found.append((f"references: {number:,} responses of the teacher at most", replace(teacher, rollouts=float(number))))
    if rollouts := sum(stage.fraction for stage in stages if stage.source == "rollouts") * steps * config.batch:
        found.append((f"rollouts to train on: {rollouts:,.0f}", replace(student, rollouts=rollouts)))
    return found


def _updating(config: DistillConfig, steps: int, prompt: float, student: Shape, teacher: Shape, machine: Machine) -> float:
    """Hours of forward and backward passes, and of the teacher's forward passes at every visit: fewer where its statistics are kept."""
    tokens = steps * config.batch * (prompt + config.max_new_tokens)
    return tokens * (6 * student.matmul_parameters + 2 * teacher.matmul_parameters) / (PRODUCTS * machine.products * machine.devices) / 3600


def _memory(config: DistillConfig, prompt: float, student: Shape, teacher: Shape, machine: Machine) -> list[tuple[str, float]]:
    given = config.training_arguments or {}
    shared = machine.devices if given.get("fsdp") else 1
    wide = 2 if config.dtype == "float64" else 1  # the student trains in float32 otherwise
    width = 2 if config.precision == "bf16" else 4 * wide
    tokens = config.micro_batch * (prompt + config.max_new_tokens)
    layer = ACTIVATIONS * tokens * student.hidden * width / 2
    recomputed = bool(given.get("gradient_checkpointing"))
    activations = student.layers * _INPUT * tokens * student.hidden * width / 2 + layer if recomputed else student.layers * layer
    # The dense loss holds the logits of all tokens; its chunks are of softmaxes alone.
    held = min(tokens, config.loss_chunk or CHUNK_ELEMENTS // student.vocabulary) if config.loss == "fused" else tokens
    on_rollouts = any(stage.source == "rollouts" for stage in parse_stages(config.stages))
    resident = config.teacher_statistics == "live" or on_rollouts
    parts = [
        ("student, gradient and AdamW" + (f", over {shared} devices" if shared > 1 else ""), STATES * wide * student.parameters / shared),
        (f"activations of a micro-batch of {config.micro_batch}" + (", recomputed" if recomputed else ""), activations),
        (f"logits of {held:,.0f} tokens", LOGITS * held * student.vocabulary),
    ]
    if config.samples_in_half and (on_rollouts or config.needs_pass_rates):
        parts.append(("the student's copy in bfloat16, which samples", 2.0 * student.parameters))
    if config.teacher_update == "ema":
        parts.append(("moving average of the student", 4.0 * wide * student.parameters))
    return [*parts, ("teacher", float(width_of(config.dtype) * teacher.parameters))] if resident else parts


def _width_sampled(config: DistillConfig) -> int:
    """Bytes of a weight of the student that samples: with hf the one in training, or its copy."""
    if config.engine != "hf":
        return width_of(config.dtype)
    return 2 if config.samples_in_half else 8 if config.dtype == "float64" else 4
