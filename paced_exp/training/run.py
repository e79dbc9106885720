"""The run of a distillation: load models, measure pass rates, train, and evaluate the trained student."""

import os
import shutil
import sys
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import Trainer
from transformers.utils import logging as transformers_logging

from paced_exp.core import config as configs
from paced_exp.core.checkpoints import digests, fault, sync, written_whole
from paced_exp.core.clock import StageClock
from paced_exp.core.errors import UserError, renaming
from paced_exp.core.json_files import read_checked, write_checked
from paced_exp.core.run_folder import RunFolder, provenance
from paced_exp.data.sources import save_problems
from paced_exp.evaluation.card_parts import CARD, write_card
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.evaluation.run import check_evaluation, evaluate, is_finished
from paced_exp.grading import grader as grading
from paced_exp.rollouts.engine import Sampling
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.groups import Processes, RunContext
from paced_exp.training.build import make_trainer
from paced_exp.training.config import KIND, DistillConfig
from paced_exp.training.counts import initial_rates
from paced_exp.training.data import make_training_data
from paced_exp.training.inputs import load_inputs
from paced_exp.training.keeping import make_keeping, rehearsal_problems
from paced_exp.training.model_card import card
from paced_exp.training.other_runs import check_other_runs
from paced_exp.training.record import training_record
from paced_exp.training.student_rollouts import Early, StudentRollouts
from paced_exp.training.teacher_config import TeacherConfig

DONE = "trained.json"  # written after training, so that a run killed in its evaluation does not train again
# Names, in messages, of the evaluation's options, which have other names in a distillation.
_EVALUATION_OPTIONS = {
    "problems": "`evaluate`",
    "limit": "`evaluate_limit`",
    "against": "`base_evaluation`",
    "seed": "the evaluation's seed",
}


def train_run(config: DistillConfig, run: RunFolder) -> dict[str, Any]:
    """Train the run of `config` in its folder, or resume it, or find it trained. Returns the training's part of the record."""
    transformers_logging.disable_progress_bar()  # bars for the shards of every checkpoint would hide this package's own
    state = PartialState(**process_options(config.device))
    processes = Processes(state.is_main_process, state.wait_for_everyone)
    if (done := trained_before(run, processes)) is not None:
        return done
    engines = Engines(config)
    inputs = load_inputs(config)
    if processes.main:
        check_other_runs(config, inputs)
        rehearsal_problems(config)
        check_final_evaluation(config, run)
        # The folder is created only now: a refused command leaves none, so the corrected command can use the same name.
        run.open().claim(inputs.fingerprints)
        save_problems(inputs.problems, run / "problems.parquet")
    processes.wait()
    clock = StageClock(run / "seconds.json") if processes.main else lambda stage: nullcontext()
    with grading.Grader() as grader:
        context = RunContext(run.path, engines, grader, processes)
        sampling = Sampling(config.K, config.max_new_tokens, config.temperature, config.seed)
        early = None if config.adaptive == "off" else Early(config.adaptive, config.exponents)
        rollouts = StudentRollouts(context, inputs.student, inputs.problems, sampling, early, half=config.samples_in_half)
        with clock("pass rates"):
            measured = initial_rates(rollouts, config.pass_rates) if config.needs_pass_rates else None
        data = make_training_data(config, rollouts, inputs.teacher, measured, inputs.weights)
        with clock("references and training"):
            keeping = make_keeping(config, context, inputs.student)
            trainer = make_trainer(config, run, data, inputs.teacher, processes, keeping)
            trainer.train_or_resume()
        save_model(trainer, inputs.student.tokenizer, run.path, processes)
    engines.close()
    record = {**training_record(config, trainer, inputs.teacher, keeping.flops), "skipped_long": inputs.skipped_long}
    if processes.main:
        data.references.write(run / "references.parquet")
        mark_trained(run, record)
    processes.wait()
    return record


def mark_trained(run: RunFolder, record: dict[str, Any]) -> None:
    """Write the training's part of the record, with digests of the model, for `trained_before`."""
    write_checked(run / DONE, {"kind": "training", "record": record, "model": digests(run / "model")})


def trained_before(run: RunFolder, processes: Processes) -> dict[str, Any] | None:
    """The record of a finished training in the folder. None if there is none, or if its model has changed since it was written."""
    if processes.main and (run / DONE).exists():
        (run / "model" / CARD).unlink(missing_ok=True)  # of a record that is no more; the model is judged without it
        wrong = fault(run / "model", read_checked(run / DONE, "training")["model"])
        if wrong is not None:
            print(f"warning: {run / 'model'} is damaged: {wrong}; it is made again from the last checkpoint", file=sys.stderr)
            (run / DONE).unlink()
    processes.wait()
    return read_checked(run / DONE, "training")["record"] if (run / DONE).exists() else None


def process_options(device: str) -> dict[str, Any]:
    """Arguments of accelerate's `PartialState` for a run on `device`."""
    # The other processes wait while the first one rolls out, which can take hours.
    options: dict[str, Any] = {"timeout": timedelta(days=2)} if int(os.environ.get("WORLD_SIZE", "1")) > 1 else {}
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    return options | ({"cpu": True} if on_cpu else {})


def save_model(trainer: Trainer, tokenizer: Any, folder: Path, processes: Processes) -> None:
    """Write the trained model to folder/model in transformers' layout. The folder only appears when it is complete."""
    partial = folder / ".model"
    with written_whole(f"{folder / 'model'}", partial):
        trainer.save_model(str(partial))
        if processes.main:
            tokenizer.save_pretrained(partial)
            (partial / "training_args.bin").unlink(missing_ok=True)  # a pickle, which nobody needs
            sync(partial)
            shutil.rmtree(folder / "model", ignore_errors=True)
            os.replace(partial, folder / "model")
    processes.wait()


def evaluation_config(config: DistillConfig | TeacherConfig, run: RunFolder) -> EvaluateConfig | None:
    """The evaluation of the trained model, compared with the model before training; None if `evaluate` is none."""
    if config.evaluate == "none":
        return None
    lab = all(part.strip().startswith("lab:") for part in config.evaluate.split(","))
    return EvaluateConfig(
        model=str(run / "model"),
        problems=config.evaluate,
        samples=config.samples,
        limit=config.evaluate_limit,
        columns=None if lab else config.columns,  # the training problems' columns, also for the evaluation's files
        skip_long=config.skip_long,
        against=config.base_evaluation or config.student,
        retention=config.retention,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        engine=config.engine,
        engine_options=config.engine_options,
        device=config.device,
        dtype=config.dtype if isinstance(config, DistillConfig) else EvaluateConfig.dtype,
        out=str(run / "evaluation"),
    )


def check_final_evaluation(config: DistillConfig | TeacherConfig, run: RunFolder) -> None:
    """Raise `UserError` if the evaluation after training, or its comparison with `base_evaluation`, would fail."""
    evaluation = evaluation_config(config, run)
    if evaluation is None:
        return
    if config.base_evaluation and not is_finished(config.base_evaluation):
        raise UserError(
            f"`base_evaluation` {config.base_evaluation} is not the folder of a finished evaluation; give the `out` of one, "
            "or leave the option out, and the student is evaluated too"
        )
    with renaming(_EVALUATION_OPTIONS):
        check_evaluation(evaluation)


def evaluate_run(config: DistillConfig | TeacherConfig, run: RunFolder) -> dict[str, Any] | None:
    """Evaluate the trained model; None if `evaluate` is none."""
    evaluation = evaluation_config(config, run)
    if evaluation is None:
        return None
    with renaming(_EVALUATION_OPTIONS):
        return evaluate(evaluation)


def distill(config: DistillConfig) -> dict[str, Any]:
    """Run (or resume) a distillation and return its record. Raises `UserError` for anything that the user can fix.

    Under `accelerate launch` every process trains. Only the first one rolls out, evaluates and writes; the others get an empty record.
    """
    run = RunFolder(config.out, config)
    record = run.recorded(KIND, lambda: _distill(config, run), main=_is_first_process())
    if record:
        write_card(run / "model", card(record))
    return record


def _is_first_process() -> bool:
    """Whether this is the first process of a launcher. Read from the environment, since the process group only exists once training begins."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or int(os.environ.get("RANK", "0")) == 0


def _distill(config: DistillConfig, run: RunFolder) -> dict[str, Any]:
    trained = train_run(config, run)
    if not _is_first_process():
        return {}
    clock = StageClock(run / "seconds.json")
    with clock("evaluation"):
        evaluation = evaluate_run(config, run)
    return {
        "kind": KIND,
        "config": configs.as_dict(config),
        **trained,
        "evaluation": evaluation,
        "seconds": clock.seconds,
        "provenance": provenance(config.seed),
    }
