"""The run of a probe: load problems and models, roll out until the bins are full, and make references, gradients and estimates."""

import itertools
import sys
import time
from typing import Any

from paced_exp.core import config as configs
from paced_exp.core.clock import StageClock
from paced_exp.core.run_folder import RunFolder, provenance
from paced_exp.data.prompt_lengths import LongPrompts
from paced_exp.data.prompts import solutions_needed, with_solutions
from paced_exp.data.sources import source_fingerprint, stream_problems
from paced_exp.gradients.counted import counted
from paced_exp.grading import grader as grading
from paced_exp.models.loading import check_same_vocabulary, load_model
from paced_exp.probe.accuracy import AccuracyProbe
from paced_exp.probe.config import KIND, ProbeConfig
from paced_exp.probe.curve import curve_record, estimate_curve
from paced_exp.probe.earlier import EarlierRun
from paced_exp.probe.fits import mixture_of
from paced_exp.probe.gram import gram_record
from paced_exp.probe.measurement import bin_data, bin_gradients, fill_bins
from paced_exp.probe.ratios import ratios_of
from paced_exp.probe.responses import responses_for
from paced_exp.probe.screening import fill_ranges, with_families
from paced_exp.rollouts.engines import Engines


def run_probe(config: ProbeConfig) -> dict[str, Any]:
    """Run (or resume) the probe and return its record. Raises `UserError` for anything that the user can fix."""
    run = RunFolder(config.out, config)
    return run.recorded(KIND, lambda: _run_probe(config, run))


def _run_probe(config: ProbeConfig, run: RunFolder) -> dict[str, Any]:
    began = time.perf_counter()
    engines = Engines(config)
    needed = solutions_needed(teacher_prompt=config.teacher_prompt, reference=config.response, fallback=config.fallback)
    source = with_solutions(stream_problems(config.problems, seed=config.seed, columns=config.columns), needed)
    source = with_families(source, config)
    source = itertools.chain([problem] if (problem := next(source, None)) is not None else [], source)
    student = load_model(config.student, device=config.device, dtype=config.dtype)
    teacher = load_model(config.teacher, device=config.device, dtype=config.dtype)
    check_same_vocabulary(student, teacher)
    sampled, sampled_teacher = student, teacher
    if config.rollout_dtype not in ("auto", config.dtype):
        sampled, sampled_teacher = (
            load_model(name, device=config.device, dtype=config.rollout_dtype) for name in (config.student, config.teacher)
        )
    long = LongPrompts([(student, "plain"), (teacher, config.teacher_prompt)], config.max_new_tokens, config.skip_long)
    counted(student.model, None if config.only is None else [config.only])
    accuracy = AccuracyProbe(config, student) if config.against == "accuracy" else None
    source = source if accuracy is None else accuracy.apart(source)
    # The folder is created only now: a refused command leaves none, so the corrected command can use the same name.
    inputs = {"problems": source_fingerprint(config.problems), "student": student.fingerprint, "teacher": teacher.fingerprint}
    inputs |= {} if accuracy is None else accuracy.fingerprint
    earlier = None if config.rollouts_from is None else EarlierRun(config.rollouts_from, config, inputs)
    run.open().claim(inputs)
    clock = StageClock(run / "seconds.json")
    clock.add("load", time.perf_counter() - began)
    with grading.Grader() as grader:
        with clock("rollouts"):
            fill = fill_ranges if config.fresh_rollouts else fill_bins
            bins, problems, rollouts = fill(config, run, long.streamed(source), sampled, grader, engines, earlier)
        with clock("references"):
            kept = [problems[name] for members in bins.members for name, _ in members]
            references = responses_for(config, run, kept, sampled, sampled_teacher, grader, engines, earlier)
        if accuracy is not None:
            with clock("held-out rollouts"):
                accuracy.roll_out(run, sampled, grader, engines)
    del sampled, sampled_teacher  # copies in another precision are not needed any more
    with clock("gradients"):
        sums = bin_gradients(config, run, bins, problems, references, student, teacher)
    aligned = None if accuracy is None else accuracy.record(run, bins, problems, references, sums, student, teacher, clock)
    with clock("estimates"):
        data = bin_data(bins, references, sums)
        curve = curve_record(estimate_curve(data, replicates=config.replicates, seed=config.seed)) | {"gram": gram_record(data, config.K)}
        if config.fresh_rollouts:
            curve["ratios"] = ratios_of(curve["bins"])
        curve["mixture"] = mixture_of({"config": configs.as_dict(config), "bins": curve["bins"], "rollouts": rollouts})
    if long.skipped:
        print(f"`skip_long`: {len(long.skipped)} problems were skipped, the first is {long.skipped[0]!r}", file=sys.stderr)
    return {
        "kind": KIND,
        "config": configs.as_dict(config),
        **curve,
        **({} if aligned is None else {"accuracy": aligned}),
        "rollouts": rollouts,
        "skipped_long": len(long.skipped),
        "references": {
            origin: sum(r.origin == origin for r in references.values()) for origin in ("teacher", "solution", "student", "none")
        },
        "student_parameters": int(sum(p.numel() for p in student.model.parameters())),
        "seconds": clock.seconds,
        "provenance": provenance(config.seed),
    }
