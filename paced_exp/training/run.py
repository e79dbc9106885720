"""A distillation run put together: models, pass rates, data, teachers, trainer; and the evaluation of what came out."""

import os
import shutil
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers.utils import logging as transformers_logging

from paced_exp.core import config as configs
from paced_exp.core.checkpoints import digests, fault, sync, written_whole
from paced_exp.core.clock import StageClock
from paced_exp.core.errors import UserError, renaming
from paced_exp.core.json_files import read_checked, write_checked
from paced_exp.core.run_folder import RunFolder, provenance
from paced_exp.data.sources import save_problems
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.evaluation.run import check_evaluation, evaluate, is_finished
from paced_exp.grading import grader as grading
from paced_exp.rollouts.engine import Sampling
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.groups import Processes, RunContext
from paced_exp.training.build import make_trainer
from paced_exp.training.config import KIND, DistillConfig
from paced_exp.training.counts import initial_counts
from paced_exp.training.data import make_training_data
from paced_exp.training.inputs import load_inputs
from paced_exp.training.other_runs import check_other_runs
from paced_exp.training.record import training_record
from paced_exp.training.student_rollouts import StudentRollouts
from paced_exp.training.trainer import PacedTrainer

DONE = "trained.json"  # written last, so that a run killed in its evaluation does not train again
# How messages about the evaluation name its options, which have other names here.
_EVALUATION_OPTIONS = {
    "problems": "`evaluate`",
    "limit": "`evaluate_limit`",
    "against": "`base_evaluation`",
    "seed": "the evaluation's seed",
}


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
    inputs = load_inputs(config)
    if processes.main:
        check_other_runs(config, inputs)
        _check_evaluation(config, run)
        # The folder is created only now: a refused command leaves none, so the corrected command can use the same name.
        run.open().claim(inputs.fingerprints)
        save_problems(inputs.problems, run / "problems.parquet")
    processes.wait()
    clock = StageClock(run / "seconds.json") if processes.main else lambda stage: nullcontext()
    with grading.Grader() as grader:
        context = RunContext(run.path, engines, grader, processes)
        sampling = Sampling(config.K, config.max_new_tokens, config.temperature, config.seed)
        rollouts = StudentRollouts(context, inputs.student, inputs.problems, sampling)
        with clock("pass rates"):
            counts = initial_counts(rollouts, config.pass_rates) if config.needs_pass_rates else None
        data = make_training_data(config, rollouts, inputs.teacher, counts, inputs.weights)
        with clock("references and training"):
            trainer = make_trainer(config, run, data, inputs.teacher, processes)
            trainer.train_or_resume()
        _save_model(trainer, run.path, processes)
    engines.close()
    record = {**training_record(config, trainer, inputs.teacher), "skipped_long": inputs.skipped_long}
    if processes.main:
        data.references.write(run / "references.parquet")
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


def _save_model(trainer: PacedTrainer, folder: Path, processes: Processes) -> None:
    """The trained student in transformers' layout, in folder/model, there when whole."""
    partial = folder / ".model"
    with written_whole(f"{folder / 'model'}", partial):
        trainer.save_model(str(partial))
        if processes.main:
            trainer.data.student.tokenizer.save_pretrained(partial)
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


def _check_evaluation(config: DistillConfig, run: RunFolder) -> None:
    """Raise `UserError` for an evaluation that cannot be made after the training, or not be compared with `base_evaluation`."""
    evaluation = evaluation_config(config, run)
    if evaluation is None:
        return
    if config.base_evaluation and not is_finished(config.base_evaluation):
        raise UserError(
            f"`base_evaluation` {config.base_evaluation} is not the folder of a finished evaluation; give the `out` of one, "
            "or leave the option out: the student is then evaluated here"
        )
    with renaming(_EVALUATION_OPTIONS):
        check_evaluation(evaluation)


def evaluate_run(config: DistillConfig, run: RunFolder) -> dict[str, Any] | None:
    """Evaluate the trained student; None where `evaluate` is none."""
    evaluation = evaluation_config(config, run)
    if evaluation is None:
        return None
    with renaming(_EVALUATION_OPTIONS):
        return evaluate(evaluation)


def distill(config: DistillConfig) -> dict[str, Any]:
    """Run (or resume) a distillation and return its record. Raises `UserError` for anything the user can mend.

    Under `accelerate launch` every process trains; the first one alone rolls out, evaluates and writes, and the others get an empty record.
    """
    run = RunFolder(config.out, config)
    return run.recorded(KIND, lambda: _distill(config, run), main=_is_first_process())


def _is_first_process() -> bool:
    """Of those that a launcher started; asked of the environment, since their group is made only when there is work to do."""
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
