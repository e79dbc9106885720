"""One cell, from its configuration to its record. The run's folder resumes a killed cell and is deleted once the record is written."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from transformers import AutoTokenizer

from paced_exp.core.json_files import read_checked
from paced_exp.core.parquet import read_table
from paced_exp.data.prompts import prompt_ids
from paced_exp.data.sources import load_problems
from paced_exp.reproduce.cells import Cell
from paced_exp.reproduce.probes import Probe
from paced_exp.reproduce.records import FORMAT, Results, write_record
from paced_exp.reproduce.shared import Shared, shared_by, with_shared
from paced_exp.rollouts.pass_rates import read_pass_rates
from paced_exp.training.config import DistillConfig
from paced_exp.training.run import distill
from paced_exp.training.teacher_config import TeacherConfig


def run_cell(cell: Cell, results: Path, work: Path, *, keep: bool = False) -> Path:
    """Run (or resume) `cell`, whose shared work is done, and write its record; returns the record's path.

    keep: leave the run's folder, with the trained model, under `work`. Raises `UserError` for anything the user can mend.
    """
    folder = cell_folder(cell, work)
    needed = shared_by(cell, work)
    config = with_shared(cell, work, folder)
    if isinstance(config, DistillConfig):
        made = distill(config)
        scores_in, training = folder / "evaluation", _training(made)
        flops = _flops(config, made, folder, needed)
        seconds = made["seconds"]
    elif isinstance(config, TeacherConfig):
        made = _taught(config)
        scores_in, flops, seconds = folder / "evaluation", made["training"]["flops"], made["seconds"]
        weights = {"problems": made["training"]["problems"], "dropped": 0}  # a group may have no advantage, but no problem is left out
        training = {"weights": weights, **{name: value for name, value in made["training"].items() if name != "flops"}}
    else:
        # A base is the shared evaluation itself.
        scores_in = needed["base"].folder
        made = read_checked(scores_in / "record.json", "evaluation")
        training, flops, seconds = None, {}, {"evaluation": made["seconds"]}
    content = {
        "kind": "cell",
        "format": FORMAT,
        "scale": cell.scale.name,
        "table": cell.table,
        "row": cell.row,
        "seed": cell.seed,
        "options": cell.options,
        "command": cell.command,
        "scores": scores_of(scores_in, cell.scale.sources),
        "flops": flops,
        "training": training,
        "seconds": seconds,
        "provenance": {name: value for name, value in made["provenance"].items() if name != "command"},
    }
    path = cell.path(results)
    write_record(path, json.loads(json.dumps(content)))
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return path


def _taught(config: TeacherConfig) -> dict[str, Any]:
    # TRL is an extra: cells that do not need it run without it.
    from paced_exp.integrations.trl.policy_run import train_teacher

    return train_teacher(config)


def cell_folder(cell: Cell, work: Path) -> Path:
    """The run's folder: it changes with the options, so that a changed grid never resumes an old run."""
    digest = hashlib.sha256(cell.key.encode()).hexdigest()[:10]
    return work / cell.scale.name / "cells" / f"{cell.name.replace('/', '--')}-{digest}"


def scores_of(folder: Path, sources: tuple[str, ...]) -> dict[str, Any]:
    """The compact scores of a finished evaluation in `folder`, by source."""
    table = read_table(folder / "scores.parquet").to_pandas()
    found: dict[str, Any] = {}
    for source in sources:
        part = table[table["source"] == source]
        samples = int(part["samples"].iloc[0])
        ids = hashlib.sha256("\n".join(part["problem_id"]).encode()).hexdigest()[:16]
        tokens = np.rint(part["mean_tokens"].to_numpy() * samples).astype(int)
        found[source] = {
            "problems": ids,
            "samples": samples,
            "correct": part["correct"].astype(int).tolist(),
            "tokens": tokens.tolist(),
            "truncated_share": float(part["truncated_share"].mean()),
        }
    return found


def _training(made: dict[str, Any]) -> dict[str, Any]:
    """What training was made of: what a table or a reader may ask for, and nothing that the clock decides."""
    training = {name: value for name, value in made["training"].items() if name not in ("seconds", "flops", "cache_flops", "keeping_flops")}
    return {"weights": made["weights"], "references": made["references"], "segments": made["segments"], **training}


def _flops(config: DistillConfig, made: dict[str, Any], folder: Path, needed: dict[str, Shared]) -> dict[str, float]:
    """Floating-point operations by purpose; 6 a parameter and token trained on, 2 a parameter and token read or sampled. The K rollouts of a problem
    read its prompt once.

    training: forward, backward, a live teacher, and a penalty on forgetting. keeping: what such a penalty reads before training. rollouts:
    on-policy responses and recomputed pass rates. pass_rates: those before training, of the problems passed over or visited, where the method
    needs them, shared or not. teacher: cached statistics on the references of positive weight, once for every time that weights are made anew.
    Sampling the references, the same for all methods, is not counted.
    """
    student = _matmul_parameters(folder / "model")
    prompts = _mean_prompt_tokens(config, folder)
    sampled = made["training"]["rollouts"]
    spent = {
        "training": made["training"]["flops"],
        "teacher": made["training"]["cache_flops"],
        "rollouts": 2.0 * student * (sampled["tokens"] + sampled["prompts"] * prompts),
        "pass_rates": 0.0,
    }
    if "keeping_flops" in made["training"]:
        spent["keeping"] = made["training"]["keeping_flops"]
    if "pass_rates" in needed:
        rates = read_pass_rates(str(needed["pass_rates"].folder / "pass_rates.parquet"), None)
        responses = float((rates["mean_tokens"] * rates["K"]).sum())
        # What was not reached in one pass need not have been rolled out.
        reached = min(1.0, made["segments"][-1]["scanned"] / len(rates)) if config.regime == "one-pass" else 1.0
        spent["pass_rates"] = reached * 2.0 * student * (responses + prompts * len(rates))
    return {name: float(f"{value:.6g}") for name, value in spent.items()}


def _mean_prompt_tokens(config: DistillConfig, folder: Path) -> float:
    """Mean length of the student's prompts over at most 256 training problems, spread over all of them."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", trust_remote_code=False)
    problems = load_problems(str(folder / "problems.parquet"))
    chosen = problems[:: max(1, len(problems) // 256)]
    return float(np.mean([len(prompt_ids(tokenizer, problem)) for problem in chosen]))


def _matmul_parameters(folder: Path) -> int:
    """Parameters a token is multiplied with, from the headers of a checkpoint's files: an embedding of its own is looked up only."""
    shapes: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            shapes |= {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    tied = json.loads((folder / "config.json").read_text()).get("tie_word_embeddings", True)
    return int(
        sum(np.prod(shape) for name, shape in shapes.items() if tied or "embed_tokens" not in name)
        - (sum(np.prod(shape) for name, shape in shapes.items() if name.startswith("lm_head")) if tied else 0)
    )


def run_task(task: Cell | Shared | Probe, results: Path, work: Path, keep: bool) -> None:
    """A task of the scheduler, in a process of its own; nothing where another command has done it meanwhile."""
    if isinstance(task, Shared):
        task.run()
    elif isinstance(task, Probe):
        if task.record(results) is None:
            task.run(results, work, keep=keep)
    elif Results(results).get(task) is None:
        run_cell(task, results, work, keep=keep)
