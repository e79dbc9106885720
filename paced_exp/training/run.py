"""A distillation run put together: models, pass rates, supply, teachers, trainer; and the evaluation of what came out."""

import math
import os
import shutil
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers.utils import logging as transformers_logging

from paced_exp.core import config as configs
from paced_exp.core.checkpoints import digests, fault, sync, written_whole
from paced_exp.core.clock import StageClock
from paced_exp.core.json_files import read_checked, write_checked
from paced_exp.core.run_folder import RunFolder, provenance
from paced_exp.data.problem import Problem
from paced_exp.data.prompt_lengths import LongPrompts
from paced_exp.data.prompts import solutions_needed, with_solutions
from paced_exp.data.sources import load_problems, save_problems, source_fingerprint
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.evaluation.run import check_evaluation, evaluate
from paced_exp.grading import grader as grading
from paced_exp.models.loading import LoadedModel, check_same_vocabulary, load_model
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.groups import Processes
from paced_exp.rollouts.pass_rates import Fingerprint, pass_rates, read_pass_rates, warn_of_truncation, write_pass_rates
from paced_exp.rollouts.reference_supply import ReferenceOptions, ReferenceSupply
from paced_exp.training.build import make_trainer
from paced_exp.training.config import KIND, STEPS, DistillConfig
from paced_exp.training.counts import Counts, counts_in, counts_of, roll_out
from paced_exp.training.masks import parse_mask
from paced_exp.training.record import training_record
from paced_exp.training.segments import make_segments
from paced_exp.training.stages import parse_stages
from paced_exp.training.supply import Supply, SupplyOptions
from paced_exp.training.teachers import frozen_copy
from paced_exp.training.trainer import PacedTrainer
from paced_exp.weighting import weigh

DONE = "trained.json"  # written last, so that a run killed in its evaluation does not train again


@dataclass(frozen=True)
class Trained:
    """A finished training: its part of the record, and whether this process is the one that writes."""

    record: dict[str, Any]
    main_process: bool


def train_run(config: DistillConfig, run: RunFolder) -> Trained:
    """Train (or resume, or find trained) the run of `config` in its folder."""
    transformers_logging.disable_progress_bar()  # a bar for every checkpoint's shards would drown this package's own
    state = PartialState(**_process_options(config.device))
    processes = Processes(state.is_main_process, state.wait_for_everyone)
    if (done := _trained(run, processes)) is not None:
        return done
    engines = Engines(config)
    needed = solutions_needed(
        teacher_prompt=config.teacher_prompt,
        reference=config.reference,
        fallback=config.fallback,
        on_references=any(stage.source == "references" for stage in parse_stages(config.stages)),
    )
    loaded = load_problems(config.problems, limit=config.limit, seed=config.seed, columns=config.columns)
    problems = list(with_solutions(loaded, needed))
    student = load_model(config.student, device=config.device, dtype="float64" if config.dtype == "float64" else "float32")
    teacher = _initial_teacher(config, student)
    long = LongPrompts([(student, "plain"), (teacher, config.teacher_prompt)], config.max_new_tokens, config.skip_long)
    problems = long.listed(problems)
    evaluation = evaluation_config(config, run)
    if processes.main and evaluation is not None:
        check_evaluation(evaluation)
    # The folder is taken only now: a command that is refused leaves none behind to be in the way of its correction.
    if processes.main:
        inputs = {"problems": source_fingerprint(config.problems), "student": student.fingerprint, "teacher": teacher.fingerprint}
        run.open().claim(inputs)
        save_problems(problems, run / "problems.parquet")
    processes.wait()
    clock = _Clock(run, processes)
    with grading.Grader() as grader:
        with clock("pass rates"):
            counts = initial_counts(config, run, student, problems, grader, processes, engines)
        supply = make_supply(config, run, problems, student, teacher, counts, grader, processes, engines)
        with clock("references and training"):
            trainer = make_trainer(config, run, supply, teacher, processes)
            trainer.train_or_resume()
        _save_model(trainer, run.path, processes)
    engines.close()
    record = {**training_record(config, trainer, teacher), "skipped_long": len(long.skipped)}
    if processes.main:
        supply.references.write(run / "references.parquet")
        write_checked(run / DONE, {"kind": "training", "record": record, "model": digests(run / "model")})
    processes.wait()
    return Trained(record, processes.main)


def _trained(run: RunFolder, processes: Processes) -> Trained | None:
    """The finished training that the folder holds, None where there is none, or where its model is not as it was written."""
    if processes.main and (run / DONE).exists():
        wrong = fault(run / "model", read_checked(run / DONE, "training")["model"])
        if wrong is not None:
            print(f"warning: {run / 'model'} is damaged: {wrong}; it is made again from the last checkpoint", file=sys.stderr)
            (run / DONE).unlink()
    processes.wait()
    return Trained(read_checked(run / DONE, "training")["record"], processes.main) if (run / DONE).exists() else None


def _process_options(device: str) -> dict[str, Any]:
    # Processes wait while the first one rolls out, which can take hours.
    options: dict[str, Any] = {"timeout": timedelta(days=2)} if int(os.environ.get("WORLD_SIZE", "1")) > 1 else {}
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    return options | ({"cpu": True} if on_cpu else {})


class _Clock:
    """The seconds of stages, written by the main process only."""

    def __init__(self, run: RunFolder, processes: Processes) -> None:
        self._clock = StageClock(run / "seconds.json") if processes.main else None

    def __call__(self, stage: str) -> "_Clock":
        if self._clock is not None:
            self._clock(stage)
        return self

    def __enter__(self) -> None:
        if self._clock is not None:
            self._clock.__enter__()

    def __exit__(self, *exception: object) -> None:
        if self._clock is not None:
            self._clock.__exit__(*exception)


def _initial_teacher(config: DistillConfig, student: LoadedModel) -> LoadedModel:
    """The teacher as it is before training: another model, or a frozen copy of the student."""
    if config.teacher == "self":
        return replace(student, model=frozen_copy(student.model))
    teacher = load_model(config.teacher, device=config.device, dtype=config.dtype)
    check_same_vocabulary(student, teacher)
    teacher.model.requires_grad_(False)
    return teacher


def initial_counts(
    config: DistillConfig,
    run: RunFolder,
    student: LoadedModel,
    problems: list[Problem],
    grader: grading.Grader,
    processes: Processes,
    engines: Engines,
) -> Counts | None:
    """k and K of every problem before training, from `pass_rates` or rolled out (and written to pass_rates.parquet); None if not needed."""
    if not config.weighting().needs_pass_rates:
        return None
    fingerprint = Fingerprint.of(student, temperature=config.temperature, max_new_tokens=config.max_new_tokens)
    if config.pass_rates is not None:
        return counts_in(read_pass_rates(config.pass_rates, fingerprint), problems, config.pass_rates)
    store = roll_out(
        run.path,
        0,
        student,
        problems,
        grader,
        processes,
        engines,
        K=config.K,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
    )
    if processes.main:
        rates = pass_rates(store.outcomes())
        write_pass_rates(run / "pass_rates.parquet", rates, fingerprint)
        warn_of_truncation(rates, config.max_new_tokens)
    return counts_of(store, problems)


def make_supply(
    config: DistillConfig,
    run: RunFolder,
    problems: list[Problem],
    student: LoadedModel,
    teacher: LoadedModel,
    counts: Counts | None,
    grader: grading.Grader,
    processes: Processes,
    engines: Engines,
) -> Supply:
    """The supply of `config`; with epochs the number of updates follows from how many problems have a positive weight."""
    weighting = config.weighting()
    kept = len(problems) if counts is None else len(weigh(weighting, *counts).kept)
    steps = config.steps or (STEPS if config.epochs is None else max(1, math.ceil(config.epochs * kept / config.batch)))
    segments = make_segments(parse_stages(config.stages), steps, config.recompute)
    shared: dict[str, Any] = {"temperature": config.temperature, "max_new_tokens": config.max_new_tokens, "seed": config.seed}
    references = ReferenceSupply(
        run.path,
        ReferenceOptions(
            source=config.reference,
            candidates=config.candidates,
            fallback=config.fallback,
            prompt=config.teacher_prompt,
            taken_from=config.references,
            **shared,
        ),
        teacher,
        student,
        grader,
        processes,
        engines,
    )
    options = SupplyOptions(
        weighting=weighting,
        weight_by=config.weight_by,
        K=config.K,
        batch=config.batch,
        rollout_every=config.rollout_every,
        teacher_prompt=config.teacher_prompt,
        **shared,
    )
    mask = parse_mask(config.supervise, student.tokenizer.decode)
    return Supply(run.path, options, problems, segments, student, teacher, references, mask, grader, counts, processes, engines)


def _save_model(trainer: PacedTrainer, folder: Path, processes: Processes) -> None:
    """The trained student in transformers' layout, in folder/model, there when whole."""
    partial = folder / ".model"
    with written_whole(f"{folder / 'model'}", partial):
        trainer.save_model(str(partial))
        if processes.main:
            trainer.supply.student.tokenizer.save_pretrained(partial)
            (partial / "training_args.bin").unlink(missing_ok=True)  # a pickle, which nobody needs
            sync(partial)
            shutil.rmtree(folder / "model", ignore_errors=True)
            os.replace(partial, folder / "model")
    processes.wait()


def evaluation_config(config: DistillConfig, run: RunFolder) -> EvaluateConfig | None:
    """What evaluates the trained student against the one it started from; None where `evaluate` is none."""
    if config.evaluate == "none":
        return None
    lab = all(part.strip().startswith("lab:") for part in config.evaluate.split(","))
    return EvaluateConfig(
        model=str(run / "model"),
        problems=config.evaluate,
        samples=config.samples,
        limit=config.evaluate_limit,
        columns=None if lab else config.columns,  # of the training problems' file, and the evaluation's where it has columns
        skip_long=config.skip_long,
        against=config.base_evaluation or config.student,
        retention=config.retention,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        engine=config.engine,
        engine_options=config.engine_options,
        device=config.device,
        out=str(run / "evaluation"),
    )


def evaluate_run(config: DistillConfig, run: RunFolder) -> dict[str, Any] | None:
    """Evaluate the trained student; None where `evaluate` is none."""
    evaluation = evaluation_config(config, run)
    return None if evaluation is None else evaluate(evaluation)


def distill(config: DistillConfig) -> dict[str, Any]:
    """Run (or resume) a distillation and return its record. Raises `UserError` for anything the user can mend.

    Under `accelerate launch` every process trains; the first one alone rolls out, evaluates and writes, and the others get an empty record.
    """
    run = RunFolder(config.out, config)
    return run.recorded(KIND, lambda: _distill(config, run), main=_is_first_process())


def _is_first_process() -> bool:
    """Of those that a launcher started; asked before torch is loaded."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or int(os.environ.get("RANK", "0")) == 0


def _distill(config: DistillConfig, run: RunFolder) -> dict[str, Any]:
    trained = train_run(config, run)
    if not trained.main_process:
        return {}
    clock = StageClock(run / "seconds.json")
    with clock("evaluation"):
        evaluation = evaluate_run(config, run)
    return {
        "kind": KIND,
        "config": configs.as_dict(config),
        **trained.record,
        "evaluation": evaluation,
        "seconds": clock.seconds,
        "provenance": provenance(config.seed),
    }
