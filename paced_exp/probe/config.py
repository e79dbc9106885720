"""The options of a probe."""

from dataclasses import dataclass
from typing import Any

from paced_exp.core.errors import UserError

KIND = "snr_probe"


@dataclass(frozen=True)
class ProbeConfig:
    """What to probe and how.

    Attributes:
        student: lab:NAME, a folder, or a hub id
        teacher: likewise; it must read the student's tokens
        problems: lab:SPLIT, a .jsonl or .parquet file, or hub:NAME
        columns: names of a file's columns where they differ, such as {"prompt": "question"}
        skip_long: leave out the problems whose prompt and longest response exceed the model's context, instead of refusing all
        K: rollouts a problem, from which its pass rate is estimated
        bins: pass-rate bins of equal width; K + 1 of them give each k its own
        per_bin: problems wanted in each bin
        max_problems: budget of problems rolled out to fill the bins
        divergence: forward_kl, reverse_kl, cross_entropy, jsd or akl, on the response
        response: reference (the teacher's), solution (the worked one) or rollout (a fresh one of the student's own)
        reduction: of a response's tokens, mean or sum
        only: a module or parameter to which gradients are restricted, such as model.layers.3; by default the whole model
        temperature: of rollouts and references
        max_new_tokens: longest response; a rollout cut there counts as failed
        teacher_prompt: what the teacher reads before the response: privileged (the expert solution) or plain
        candidates: teacher responses sampled a problem; the first correct one is the reference
        fallback: solution (the worked solution stands in where no candidate is correct) or drop
        batch_tokens: padded tokens in a gradient batch
        sketch_size: dimensions of the gradient sketches behind intervals and nulls, at least 64; point estimates are exact
        replicates: draws of the null without a common direction (random signs)
        engine: of rollouts and references: hf (transformers) or vllm
        engine_options: JSON object for vllm, such as {"tensor_parallel_size": 2, "data_parallel_size": 4, "gpu_memory_utilization": 0.5}
        device: auto, cpu, cuda, ...
        dtype: auto (float32 on a CPU), float32, bfloat16 or float64
        seed: of everything random
        at_steps: updates before which to probe, such as 1,20; the student is trained from one to the next
        method: of weighting in that training: uniform, paced, hard_filter, gaussian, grpo, maxrl or focal
        training: JSON object of further options of paced_exp.distill for it, such as {"learning_rate": 0.001}
        rollouts_from: folder of an earlier probe of the same student and problems, whose rollouts and references are taken over
        out: folder of the run; the same command resumes it
    """

    student: str = "lab:student"
    teacher: str = "lab:teacher"
    problems: str = "lab:train"
    columns: dict[str, str] | None = None
    skip_long: bool = False
    K: int = 10
    bins: int = 11
    per_bin: int = 100
    max_problems: int = 20_000
    divergence: str = "forward_kl"
    response: str = "reference"
    reduction: str = "mean"
    only: str | None = None
    temperature: float = 1.0
    max_new_tokens: int = 128
    teacher_prompt: str = "privileged"
    candidates: int = 4
    fallback: str = "solution"
    batch_tokens: int = 4096
    sketch_size: int = 4096
    replicates: int = 2000
    engine: str = "hf"
    engine_options: dict[str, Any] | None = None
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    at_steps: str = "1"
    method: str = "paced"
    training: dict[str, Any] | None = None
    rollouts_from: str | None = None
    out: str = "runs/snr_probe"

    def __post_init__(self) -> None:
        minimum = {
            "K": 1,
            "bins": 2,
            "per_bin": 3,  # an interval needs as many
            "max_problems": 1,
            "max_new_tokens": 1,
            "candidates": 1,
            "batch_tokens": 1,
            "sketch_size": 64,  # below, what is drawn from inner products is noise of the sketch
            "replicates": 100,
        }
        for name, least in minimum.items():
            if getattr(self, name) < least:
                why = (
                    ": the inner products of a sketch of m numbers are wrong by about 1/sqrt(m) of the norms"
                    if name == "sketch_size"
                    else ""
                )
                raise UserError(f"`{name}` {getattr(self, name)} must be at least {least}{why}")
        if not 0 < self.temperature < float("inf"):
            raise UserError(f"`temperature` {self.temperature} must be positive and finite: at 0 a pass rate is 0 or 1 only")
        if self.fallback not in ("solution", "drop"):
            raise UserError(f"`fallback` {self.fallback} is not known; known: solution, drop")
        if self.teacher_prompt not in ("privileged", "plain"):
            raise UserError(f"`teacher_prompt` {self.teacher_prompt} is not known; known: privileged, plain")
        if self.seed < 0:
            raise UserError(f"`seed` {self.seed} must be at least 0")
        from paced_exp.rollouts.options import check_engine

        check_engine(self.engine, self.engine_options)
        if self.reduction not in ("mean", "sum"):
            raise UserError(f"`reduction` {self.reduction} is not known; known: mean, sum")
        if self.response not in ("reference", "solution", "rollout"):
            raise UserError(f"`response` {self.response} is not known; known: reference, solution, rollout")
        from paced_exp.losses.divergences import divergence

        divergence(self.divergence)
        from paced_exp.probe.at_steps import parse_steps, training_config

        steps = parse_steps(self.at_steps)
        if steps[-1] > 1:
            training_config(self, steps[-1])
        elif self.method != "paced" or self.training is not None:
            raise UserError("`method` and `training` are of the updates between probes: give `at_steps` beyond 1, such as `at_steps` 1,20")
