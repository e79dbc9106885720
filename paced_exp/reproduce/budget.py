"""What a cell will cost: FLOPs by purpose, seconds on the scale's device, memory; before anything is run.

Seconds are FLOPs over the scale's throughput, and then scaled by what finished cells of the same scale took, median over them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paced_exp.data.lab.splits import DEFAULT_SIZES
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.probe.config import ProbeConfig, parse_steps
from paced_exp.probe.ranges import RANGES
from paced_exp.reproduce.architectures import shape_of
from paced_exp.reproduce.cells import Cell
from paced_exp.reproduce.probes import Probe
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.shared import Shared
from paced_exp.rollouts.config import RolloutConfig
from paced_exp.training.config import DistillConfig
from paced_exp.training.plan import ACTIVATIONS, LOGITS, STATES
from paced_exp.training.references_config import ReferencesConfig
from paced_exp.training.segments import make_segments
from paced_exp.training.stages import parse_stages
from paced_exp.training.teacher_config import TeacherConfig

# Problems of an evaluation source where the limit does not say: the lab's default sizes, and the paper's benchmarks.
_SOURCE_SIZES = {
    **{f"lab:{split}": size for split, size in DEFAULT_SIZES.items()},
    "hub:HuggingFaceH4/MATH-500": 500,
    "hub:HuggingFaceH4/aime_2024": 30,
    "hub:yentinglin/aime_2025": 30,
    "hub:cais/mmlu/all:test": 14_042,
    "hub:nlile/hendrycks-MATH-benchmark:train": 12_000,
}
# Of the problems of the lab's law, those whose screen of K = 10 is 0, 1, 9 or 10 passes; that many are rolled out again at most.
_AT_AN_END = 0.61


@dataclass(frozen=True)
class Cost:
    """FLOPs of training (forward and backward, and forward passes of a teacher) and of sampling."""

    training: float = 0.0
    sampling: float = 0.0

    def seconds(self, scale: Scale) -> float:
        """On one device of the scale."""
        return scale.start_seconds + self.training / scale.flops_per_second[0] + self.sampling / scale.flops_per_second[1]


def cost_of(task: Cell | Shared | Probe, scale: Scale) -> Cost:
    """The cost of a cell without its shared work, of a piece of shared work, or (at most) of a probe."""
    if isinstance(task, Probe):
        return _probing(task.config, scale)
    if isinstance(task, Shared):
        shared = task.config
        if isinstance(shared, RolloutConfig):
            return Cost(sampling=_sampling(shared.student, shared.limit or scale.limit, shared.K, scale))
        if isinstance(shared, EvaluateConfig):
            return Cost(sampling=_evaluation(shared.model, shared.problems, shared.limit, shared.samples, scale))
        return _references(shared, scale)
    config = task.config
    if isinstance(config, TeacherConfig):
        return _policy(config, scale)
    if not isinstance(config, DistillConfig):
        return Cost()  # it reads the shared evaluation
    student, teacher = shape_of(config.student).matmul_parameters, shape_of(_teacher(config)).matmul_parameters
    tokens = (config.steps or 0) * config.batch * (scale.prompt_tokens + scale.response_tokens)
    training = sampling = 0.0
    for stage in parse_stages(config.stages):
        cached = stage.source == "references" and config.teacher_statistics != "live"
        training += stage.fraction * tokens * (6 * student + (0 if cached else 2 * teacher))
        if stage.source == "rollouts":
            sampling += stage.fraction * tokens * 2 * student
    again = sum(segment.recompute for segment in make_segments(parse_stages(config.stages), config.steps or 1, config.recompute))
    if config.needs_pass_rates:
        sampling += again * _sampling(config.student, config.limit or scale.limit, config.K, scale)
    return Cost(training, sampling + _evaluation(config.student, config.evaluate, config.evaluate_limit, config.samples, scale))


def _policy(config: TeacherConfig, scale: Scale) -> Cost:
    """Rollouts are sampled, read by the reference, and trained on; with ACE or Guide the policy reads them once more."""
    parameters = shape_of(config.student).matmul_parameters
    rollouts = (config.steps or 0) * (config.batch or 0) * config.K
    read = 6 + 2 * bool(config.kl) + 2 * bool(config.error_penalty or config.guide)
    sampled = (config.steps or 0) * _sampling(config.student, config.batch or 0, config.K, scale)
    evaluated = _evaluation(config.student, config.evaluate, config.evaluate_limit, config.samples, scale)
    return Cost(float(read * parameters * rollouts * (scale.prompt_tokens + scale.response_tokens)), sampled + evaluated)


def _teacher(config: DistillConfig | ReferencesConfig) -> str:
    return config.student if config.teacher == "self" else config.teacher


def _sampling(model: str, problems: int, samples: int, scale: Scale) -> float:
    return 2.0 * shape_of(model).matmul_parameters * problems * (scale.prompt_tokens + samples * scale.response_tokens)


def _evaluation(model: str, sources: str, limit: int | None, samples: int, scale: Scale) -> float:
    # The lab draws as many as are asked for, but of facts.
    count = sum(
        limit if limit and source.startswith("lab:") and source != "lab:facts" else min(limit or math.inf, _SOURCE_SIZES[source])
        for source in sources.split(",")
    )
    return _sampling(model, int(count), samples, scale)


def _references(config: ReferencesConfig, scale: Scale) -> Cost:
    problems = config.limit or scale.limit
    # The privileged prompt holds the worked solution, about as long as a response.
    read = problems * (scale.prompt_tokens + 2 * scale.response_tokens)
    teacher = _teacher(config)
    return Cost(2.0 * shape_of(teacher).matmul_parameters * read, _sampling(teacher, problems, config.candidates, scale))


def _probing(config: ProbeConfig, scale: Scale) -> Cost:
    """As if all problems that may be rolled out were, at every step; the training between steps is small beside it."""
    student, teacher = shape_of(config.student).matmul_parameters, shape_of(config.teacher).matmul_parameters
    kept = (len(RANGES) if config.fresh_rollouts else config.bins) * config.per_bin
    steps = len(parse_steps(config.at_steps))
    tokens = kept * (scale.prompt_tokens + scale.response_tokens)
    sampled = _sampling(config.student, config.max_problems, config.K, scale) + _sampling(config.teacher, kept, config.candidates, scale)
    if config.fresh_rollouts:
        sampled += _sampling(config.student, int(_AT_AN_END * config.max_problems), config.fresh_rollouts, scale)
    if config.against == "accuracy":
        sampled += _evaluation(config.student, config.accuracy_problems, config.accuracy_limit, config.accuracy_samples, scale)
        held_out = config.accuracy_limit * len(config.accuracy_problems.split(","))
        tokens += held_out * config.accuracy_samples * (scale.prompt_tokens + scale.response_tokens)
    return Cost(steps * tokens * (6.0 * student + 2.0 * teacher), steps * sampled)


def correction(scale: Scale, cells: Sequence[Cell], results: Results) -> float:
    """Median of measured over estimated seconds among the finished cells of a scale; 1 where fewer than three are."""
    ratios = [record.seconds / cost_of(cell, scale).seconds(scale) for cell in cells if cell.trained and (record := results.get(cell))]
    return float(np.median(ratios)) if len(ratios) >= 3 else 1.0


def memory_bytes(cell: Cell) -> float:
    """Of one device holding a whole cell: student and optimiser in 32 bits (16 bytes a parameter), teacher, logits and activations of a
    micro-batch at the longest response, and keys and values of eight rollouts. What does not fit is sharded (FSDP) over several."""
    config = cell.config
    if not isinstance(config, DistillConfig):
        shape = shape_of(config.student if isinstance(config, TeacherConfig) else config.model)
        if isinstance(config, TeacherConfig):  # the policy with its optimiser, and the reference
            return 20.0 * shape.parameters + 8 * config.K * config.max_new_tokens * shape.cache_bytes
        return 2.0 * shape.parameters + 8 * config.max_new_tokens * shape.cache_bytes
    student, teacher = shape_of(config.student), shape_of(_teacher(config))
    width = 4 if config.dtype in ("auto", "float32") else 2
    tokens = config.micro_batch * config.max_new_tokens
    logits = LOGITS * tokens * student.vocabulary
    activations = ACTIVATIONS * tokens * student.hidden * student.layers * width / 2
    held = (
        0 if config.teacher != "self" and config.teacher_statistics != "live" and "rollouts" not in _sources(config) else teacher.parameters
    )
    return float(STATES * student.parameters) + width * held + logits + activations + 8 * config.max_new_tokens * student.cache_bytes


def _sources(config: DistillConfig) -> set[str]:
    return {stage.source for stage in parse_stages(config.stages)}
