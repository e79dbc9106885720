"""The run that trains a teacher: load the model and problems, train by policy gradient, evaluate, and write the record."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers.utils import logging as transformers_logging
from trl import GRPOConfig

from paced_exp.core import config as configs
from paced_exp.core.clock import StageClock
from paced_exp.core.errors import UserError
from paced_exp.core.run_folder import RunFolder, provenance
from paced_exp.data.hints import hinted
from paced_exp.data.prompt_lengths import LongPrompts
from paced_exp.data.prompts import with_solutions
from paced_exp.data.sources import load_problems, save_problems, source_fingerprint
from paced_exp.evaluation.card_parts import write_card
from paced_exp.grading import grader as grading
from paced_exp.integrations.trl.group_policy import GroupPolicyTrainer
from paced_exp.models.loading import load_model
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.groups import Processes, RunContext
from paced_exp.training.run import check_final_evaluation, evaluate_run, mark_trained, process_options, save_model, trained_before
from paced_exp.training.teacher_card import card
from paced_exp.training.teacher_config import KIND, TeacherConfig


def train_teacher(config: TeacherConfig) -> dict[str, Any]:
    """Run (or resume) the training of a teacher and return its record. Raises `UserError` for anything that the user can fix."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "paced_exp.teacher trains in one process, since each process would roll out its own groups; start it without a launcher"
        )
    run = RunFolder(config.out, config)
    record = run.recorded(KIND, lambda: _train_and_evaluate(config, run))
    write_card(run / "model", card(record))
    return record


def _train_and_evaluate(config: TeacherConfig, run: RunFolder) -> dict[str, Any]:
    trained = _train(config, run)
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


def _train(config: TeacherConfig, run: RunFolder) -> dict[str, Any]:
    transformers_logging.disable_progress_bar()
    PartialState(**process_options(config.device))
    if (done := trained_before(run, Processes())) is not None:
        return done
    engines = Engines(config)
    loaded = load_problems(config.problems, limit=config.limit, seed=config.seed, columns=config.columns)
    problems = list(with_solutions(loaded, "`guide`" if config.guide else None))
    student = load_model(config.student, device=config.device, dtype="float64" if config.dtype == "float64" else "float32")
    long = LongPrompts([(student, "privileged" if config.guide else "plain")], config.max_new_tokens, config.skip_long)
    problems = long.listed(problems)
    hintless = sum(hinted(problem, config.guide) is None for problem in problems) if config.guide else 0
    if config.guide and hintless == len(problems):
        raise UserError(
            f"`guide` {config.guide:g} finds no hint in any of the {len(problems)} problems: a hint is a line of the worked solution before its last one, "
            "and these solutions have one line or none; leave it out"
        )
    args = training_arguments(config, run.path / "training", len(problems), student.device)
    check_final_evaluation(config, run)
    # The folder is created only now: a refused command leaves none, so the corrected command can use the same name.
    run.open().claim({"problems": source_fingerprint(config.problems), "student": student.fingerprint})
    save_problems(problems, run / "problems.parquet")
    clock = StageClock(run / "seconds.json")
    with grading.Grader() as grader, clock("training"):
        trainer = GroupPolicyTrainer(config, args, RunContext(run.path, engines, grader), student, problems)
        trainer.train_or_resume()
    save_model(trainer, student.tokenizer, run.path, Processes())
    engines.close()
    record = {**_record(trainer), "skipped_long": len(long.skipped)} | ({"without_hint": hintless} if config.guide else {})
    mark_trained(run, record)
    return record


# What a token's loss is divided by, as each method's authors have it, in TRL's names. grpo: its response's length, and then the number of
# responses. dr_grpo: the limit on tokens, since a response's own length favours long wrong responses. dapo: the tokens of the whole update, so that
# responses count by their length.
_LOSS_TYPES = {"grpo": "grpo", "dr_grpo": "dr_grpo", "maxrl": "dapo", "psr": "dapo", "nsr": "dapo", "w_reinforce": "dapo"}


def training_arguments(config: TeacherConfig, folder: Path, problems: int, device: torch.device) -> GRPOConfig:
    """TRL's arguments. Raises `UserError` if there are fewer problems than an update takes."""
    assert config.batch is not None and config.micro_batch is not None
    if config.batch > problems:
        raise UserError(f"`batch` {config.batch} is more than the {problems} problems; lower it, or give more `problems`")
    steps = config.steps or max(1, int((config.epochs or 1.0) * problems / config.batch))
    return GRPOConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.micro_batch,
        gradient_accumulation_steps=config.batch * config.K // config.micro_batch,
        num_generations=config.K,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        beta=float(config.kl or 0.0),
        epsilon=config.clip,
        loss_type=_LOSS_TYPES[config.advantage],
        scale_rewards="none" if config.advantage == "dr_grpo" else "group",
        learning_rate=float(config.learning_rate or 0.0),
        lr_scheduler_type="constant_with_warmup" if config.schedule == "constant" else config.schedule,
        warmup_steps=config.warmup,
        max_grad_norm=float(config.max_grad_norm or 0.0),
        save_strategy="steps",
        save_steps=config.checkpoint_every,
        save_only_model=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        use_cpu=device.type == "cpu",
        bf16=config.precision == "bf16",
        seed=config.seed,
    )


def _record(trainer: GroupPolicyTrainer) -> dict[str, Any]:
    lines = [json.loads(line) for line in (trainer._folder / "metrics.jsonl").read_text().splitlines()]
    spent = trainer.spent
    return {
        "training": {
            "updates": int(trainer.state.max_steps),
            "problems": len(trainer.problems),
            "flops": {name: spent[name] for name in ("training", "reference", "rollouts")},
            "rollouts": {name: int(spent[name]) for name in ("prompt_tokens", "response_tokens", "responses", "guided")},
            "first_pass_rate": lines[0]["pass_rate"],
            "last_pass_rate": lines[-1]["pass_rate"],
            "guided_correct": None
            if not spent["guided"]
            else sum(line["guided_correct"] * line["guided_share"] for line in lines) / sum(line["guided_share"] for line in lines),
        },
    }
