"""The gradient-SNR probe: is the cross-problem gradient SNR a bell over the student's pass rate?

    python -m paced_exp.snr_probe                                   # lab models, 100 problems a bin, minutes on a laptop
    python -m paced_exp.snr_probe --student Qwen/Qwen3-1.7B --teacher Qwen/Qwen3-8B --problems hub:open-r1/DAPO-Math-17k-Processed \\
        --teacher-prompt plain --fallback drop --max-new-tokens 8192 --device cuda   # the paper's pair, same code; no worked solutions there
    python -m paced_exp.snr_probe --at-steps 1,20 --method paced    # both panels of figure 2: before the first and the twentieth update

Stages, each resumable: roll out the student until every pass-rate bin is full, write the teacher's reference responses, take one gradient
a problem, estimate. Writes record.json, snr_curve.pdf and .png into --out.
"""

import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paced_exp import config as configs
from paced_exp.errors import UserError, exit_cleanly

KIND = "snr_probe"


@dataclass(frozen=True)
class ProbeConfig:
    """What to probe and how.

    Attributes:
        student: lab:NAME, a folder, or a hub id
        teacher: likewise; it must read the student's tokens
        problems: lab:SPLIT, a .jsonl or .parquet file, or hub:NAME
        columns: names of a file's columns where they differ, such as {"prompt": "question"}
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
        method: of weighting in that training: uniform, paced, hard_filter, gaussian or grpo
        training: JSON object of further options of paced_exp.distill for it, such as {"learning_rate": 0.001}
        rollouts_from: folder of an earlier probe of the same student and problems, whose rollouts and references are taken over
        out: folder of the run; the same command resumes it
    """

    student: str = "lab:student"
    teacher: str = "lab:teacher"
    problems: str = "lab:train"
    columns: dict[str, str] | None = None
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
                option = "-K" if name == "K" else f"--{name.replace('_', '-')}"
                why = (
                    ": the inner products of a sketch of m numbers are wrong by about 1/sqrt(m) of the norms"
                    if name == "sketch_size"
                    else ""
                )
                raise UserError(f"{option} {getattr(self, name)} must be at least {least}{why}")
        if not 0 < self.temperature < float("inf"):
            raise UserError(f"--temperature {self.temperature} must be positive and finite: at 0 a pass rate is 0 or 1 only")
        if self.fallback not in ("solution", "drop"):
            raise UserError(f"--fallback {self.fallback} is not known; known: solution, drop")
        if self.teacher_prompt not in ("privileged", "plain"):
            raise UserError(f"--teacher-prompt {self.teacher_prompt} is not known; known: privileged, plain")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed} must be at least 0")
        from paced_exp.rollouts.options import check_engine

        check_engine(self.engine, self.engine_options)
        if self.reduction not in ("mean", "sum"):
            raise UserError(f"--reduction {self.reduction} is not known; known: mean, sum")
        if self.response not in ("reference", "solution", "rollout"):
            raise UserError(f"--response {self.response} is not known; known: reference, solution, rollout")
        from paced_exp.losses import divergence

        divergence(self.divergence)
        from paced_exp.probe.at_steps import parse_steps, training_config

        steps = parse_steps(self.at_steps)
        if steps[-1] > 1:
            training_config(self, steps[-1])
        elif self.method != "paced" or self.training is not None:
            raise UserError("--method and --training are of the updates between probes: give --at-steps beyond 1, such as --at-steps 1,20")


def run_probe(config: ProbeConfig) -> dict[str, Any]:
    """Run (or resume) the probe and return its record; see the module's docstring. Raises `UserError` for anything the user can mend."""
    from paced_exp.run_folder import RunFolder

    run = RunFolder(config.out, config)
    return run.recorded(KIND, lambda: _run_probe(config, run))


def _run_probe(config: ProbeConfig, run: Any) -> dict[str, Any]:
    from paced_exp.gradients import counted
    from paced_exp.grading import Grader
    from paced_exp.models import check_same_vocabulary, load_model
    from paced_exp.probe.earlier import EarlierRun
    from paced_exp.probe.estimates import curve_record, estimate_curve
    from paced_exp.probe.fits import mixture_of
    from paced_exp.probe.responses import responses_for
    from paced_exp.probe.stages import bin_data, bin_gradients, fill_bins
    from paced_exp.problems import source_fingerprint, stream_problems
    from paced_exp.prompts import solutions_needed, with_solutions
    from paced_exp.rollouts.engines import Engines
    from paced_exp.run_folder import provenance

    began = time.perf_counter()
    engines = Engines(config.engine, config.engine_options, device=config.device)
    needed = solutions_needed(teacher_prompt=config.teacher_prompt, reference=config.response, fallback=config.fallback)
    source = with_solutions(stream_problems(config.problems, seed=config.seed, columns=config.columns), needed)
    source = itertools.chain([problem] if (problem := next(source, None)) is not None else [], source)
    student = load_model(config.student, device=config.device, dtype=config.dtype)
    teacher = load_model(config.teacher, device=config.device, dtype=config.dtype)
    check_same_vocabulary(student, teacher)
    counted(student.model, None if config.only is None else [config.only])
    # The folder is taken only now: a command that is refused leaves none behind to be in the way of its correction.
    inputs = {"problems": source_fingerprint(config.problems), "student": student.fingerprint, "teacher": teacher.fingerprint}
    earlier = None if config.rollouts_from is None else EarlierRun(config, inputs)
    run.open().claim(inputs)
    clock = StageClock(run / "seconds.json")
    clock.add("load", time.perf_counter() - began)
    with Grader() as grader:
        with clock("rollouts"):
            bins, problems, rollouts = fill_bins(config, run, source, student, grader, engines, earlier)
        with clock("references"):
            kept = [problems[name] for members in bins.members for name, _ in members]
            references = responses_for(config, run, kept, student, teacher, grader, engines, earlier)
    with clock("gradients"):
        sums = bin_gradients(config, run, bins, problems, references, student, teacher)
    with clock("estimates"):
        curve = curve_record(estimate_curve(bin_data(config, bins, references, sums), replicates=config.replicates, seed=config.seed))
        curve["mixture"] = mixture_of({"config": configs.as_dict(config), "bins": curve["bins"], "rollouts": rollouts})
    return {
        "kind": KIND,
        "config": configs.as_dict(config),
        **curve,
        "rollouts": rollouts,
        "references": {
            origin: sum(r.origin == origin for r in references.values()) for origin in ("teacher", "solution", "student", "none")
        },
        "student_parameters": int(sum(p.numel() for p in student.model.parameters())),
        "seconds": clock.seconds,
        "provenance": provenance(config.seed),
    }


class StageClock:
    """Seconds by stage, kept in a file so that a resumed run adds to what it had spent before."""

    def __init__(self, path: Path) -> None:
        from paced_exp.json_files import read_object

        self._path = path
        self.seconds: dict[str, float] = read_object(path) if path.exists() else {}
        for stage, seconds in self.seconds.items():
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
                raise UserError(f"{path} has {seconds!r:.40} for the seconds of {stage!r:.40}; delete it, it only keeps the time")
        self._stage = ""
        self._start = 0.0

    def __call__(self, stage: str) -> "StageClock":
        self._stage = stage
        return self

    def __enter__(self) -> "StageClock":
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.add(self._stage, time.perf_counter() - self._start)

    def add(self, stage: str, seconds: float) -> None:
        """Add to a stage's seconds."""
        from paced_exp.run_folder import write_json

        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + seconds, 3)
        write_json(self._path, self.seconds)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def table(record: dict[str, Any]) -> str:
    """The record as a table for the terminal."""
    from paced_exp.probe.fits import fit_lines, flat_words, mixture_of
    from paced_exp.probe.verdict import ENDS, words

    lines = [
        f"{'pass rate':>9} {'n':>5} {'SNR':>7}  {'95 % interval':<17} {'naive':>7} {'floor':>7} {'null 95 %':<17} {'SNR^2':>9} {'trimmed':>9} {'unit norm':>9}"
    ]
    for row in record["bins"]:
        others = " ".join(f"{'-' if row.get(name) is None else format(row[name], '.5f'):>9}" for name in ("trimmed", "unit_norm"))
        lines.append(
            f"{row['pass_rate']:>9.3f} {row['n']:>5d} {row['snr']:>7.4f}  [{row['snr_low']:.4f}, {row['snr_high']:.4f}]  {row['snr_naive']:>7.4f} "
            f"{row['floor']:>7.4f} [{_shown(row['null_low'])}, {_shown(row['null_high'])}]  {row['snr_squared']:>9.5f} {others}{' (clipped to SNR 0)' if row['clipped'] else ''}"
        )
    lines += [f"left out: pass rate {row['pass_rate']:.3f}, {row['n']} problems: {row['why']}" for row in record.get("left_out", [])]
    lines += fit_lines(mixture_of(record), record.get("models_problem", ""))
    lines += [f"test of a flat SNR: {flat_words(record['flat'])}"] if "flat" in record else []
    if unsure := [f"{row['pass_rate']:.2f}" for row in record["bins"] if not row.get("snr_squared_covers", True)]:
        lines.append(f"intervals not known to cover, for few gradients carry the noise: pass rates {', '.join(unsure)}")
    lines += [text[0].upper() + text[1:] for text in (words(record, end) for end in ENDS)]
    spent = record["seconds"]
    lines.append(
        "seconds: " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in spent.items()) + f", total {sum(spent.values()):.1f}"
    )
    return "\n".join(lines)


def probe(config: ProbeConfig) -> list[Path]:
    """Run (or resume) the probe before every update of `config.at_steps`, print the table, draw the figure; returns the figure's files.

    A probe whose bins are all empty has no figure. Raises `UserError` for anything the user can mend.
    """
    from paced_exp.plotting.snr import plot_snr
    from paced_exp.probe.at_steps import run_at_steps

    if config.at_steps == "1":
        record = run_probe(config)
        panels = [record]
        print(table(record))
    else:
        record = run_at_steps(config)
        panels = record["steps"]
        for panel in panels:
            print(f"before update {panel['step']}:\n{table(panel)}")
    return plot_snr(record, config.out) if all(panel["bins"] for panel in panels) else []


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: parse, probe, say where the figure is."""
    for path in probe(configs.parse(ProbeConfig, argv, "paced_exp.snr_probe", "Gradient SNR against the student's pass rate.")):
        print(path)


if __name__ == "__main__":
    exit_cleanly(lambda: main(sys.argv[1:]))
