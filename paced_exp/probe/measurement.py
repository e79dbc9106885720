"""The measurements of a probe: rollouts that fill the bins, then a gradient for each problem. Both resume from their files."""

import itertools
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paced_exp.core.atomic import atomic_file
from paced_exp.core.errors import UserError
from paced_exp.core.progress import progress
from paced_exp.core.run_folder import RunFolder
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import prompt_ids
from paced_exp.gradients.engine import GradientSums, PerProblemGradients, Sketch
from paced_exp.gradients.recomputing import recomputing
from paced_exp.grading.grader import Grader
from paced_exp.losses.alignment import Batch, Row, check_fits, collate
from paced_exp.losses.divergences import divergence
from paced_exp.losses.fused_loss import FusedLoss
from paced_exp.losses.heads import plain_head
from paced_exp.losses.problem_loss import ProblemLoss, Targets
from paced_exp.models.loading import LoadedModel
from paced_exp.probe.binning import Bins
from paced_exp.probe.config import ProbeConfig
from paced_exp.probe.curve import BinData
from paced_exp.probe.earlier import EarlierRun
from paced_exp.probe.ranges import Ranges
from paced_exp.probe.rolling import Roller, save_kept, screening
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.references import Reference
from paced_exp.training.teachers import ModelTeacher, NoTeacher

ROUND = 512  # problems rolled out at a time; after each chunk, the bins are checked


def fill_bins(
    config: ProbeConfig,
    run: RunFolder,
    source: Iterator[Problem],
    student: LoadedModel,
    grader: Grader,
    engines: Engines,
    earlier: EarlierRun | None = None,
) -> tuple[Bins, dict[str, Problem], dict[str, Any]]:
    """Roll out problems in the source's order until every bin is full, the budget is spent or the source ends.

    Returns the bins, the kept problems by id, and a summary of the rollouts for the record.
    """
    engine = engines.of(student)
    bins = Bins(config.bins, config.per_bin, config.K)
    problems: dict[str, Problem] = {}
    source = itertools.islice(source, config.max_problems)
    # Without a total, since the number of problems that fill the bins is not known before.
    with progress(None, "rollouts", "rollouts") as bar:
        give = None if earlier is None else earlier.give_rollouts
        roller = Roller(run, "rollouts", screening(config), student, engine, grader, bar, give)
        while not bins.full:
            chunk = list(itertools.islice(source, ROUND))
            if not chunk:
                break
            roller.roll(chunk)
            for problem in chunk:
                if bins.offer(problem.id, roller.passes[problem.id]):
                    problems[problem.id] = problem
            kept = f"{bins.kept}/{len(bins.reachable) * config.per_bin}"
            bar.set_postfix(drawn=len(roller.order), kept=kept, emptiest=min(len(bins.members[index]) for index in bins.reachable))
    save_kept(config, run, problems)
    roller.finish("pass_rates.parquet", warn=True)
    summary = {
        "problems_drawn": len(roller.order),
        "rollouts": len(roller.order) * config.K,
        "offered": bins.offered,
        "kept": [len(members) for members in bins.members],
        "full": bins.full,
        "mean_pass_rate": sum(roller.passes.values()) / (len(roller.passes) * config.K),
    }
    return bins, problems, summary


def bin_gradients(
    config: ProbeConfig,
    run: RunFolder,
    bins: Bins | Ranges,
    problems: dict[str, Problem],
    references: dict[str, Reference],
    student: LoadedModel,
    teacher: LoadedModel,
) -> list[GradientSums | None]:
    """The gradient sums of each bin, None for an empty one. One bin is in memory at a time, and finished bins are read back from their files."""
    folder = run / "gradients"
    sketch = Sketch(student.model, config.sketch_size, config.seed)
    loss, frozen = loss_of(config, student, teacher)
    results: list[GradientSums | None] = []
    with progress(sum(bool(reference.token_ids) for reference in references.values()), "gradients", "gradients") as bar:
        for index, members in enumerate(bins.members):
            names = [name for name, _ in members if references[name].token_ids]
            path = folder / f"bin-{index:03d}.npz"
            if not names:
                results.append(None)
                continue
            if not path.exists():
                engine = PerProblemGradients(student.model, sketch, None if config.only is None else [config.only])
                losses = losses_into(engine, loss, config, student)
                pairs = [(problems[name], references[name]) for name in names]
                for batch in gradient_batches(config, pairs, student, teacher):
                    engine.accumulate(len(batch.rows), partial(losses, batch, frozen.targets(batch)))
                    bar.update(len(batch.rows))
                _save(path, engine.sums())
            else:
                bar.update(len(names))
            results.append(load_sums(path))
    return results


def loss_of(config: ProbeConfig, student: LoadedModel, teacher: LoadedModel) -> tuple[ProblemLoss | FusedLoss, ModelTeacher | NoTeacher]:
    """The loss whose gradients are probed, and the teacher that predicts its targets. Raises `UserError` for fused without plain heads."""
    loss = ProblemLoss(divergence(config.divergence), reduction=config.reduction)
    frozen = ModelTeacher(teacher.model, states=config.loss == "fused") if loss.divergence.needs_teacher else NoTeacher()
    return FusedLoss(loss, plain_head(student.model, "student")) if config.loss == "fused" else loss, frozen


def losses_into(
    engine: PerProblemGradients, loss: ProblemLoss | FusedLoss, config: ProbeConfig, student: LoadedModel
) -> Callable[[Batch, Targets], torch.Tensor]:
    """Per-problem losses (B,) for `engine.accumulate`. A fused loss hands the engine its head's gradient."""
    called = partial(loss, gradients=engine.head(loss.head.module)) if isinstance(loss, FusedLoss) else loss

    def losses(batch: Batch, targets: Targets) -> torch.Tensor:
        with recomputing(student.model, config.checkpointing):
            return called(student.model, batch, targets)

    return losses


def gradient_batches(
    config: ProbeConfig, pairs: list[tuple[Problem, Reference]], student: LoadedModel, teacher: LoadedModel
) -> Iterator[Batch]:
    """The problems with their responses, in the batches and order in which a bin's gradients are computed and stored."""
    rows = []
    for problem, reference in pairs:
        plain, read = prompt_ids(student.tokenizer, problem), prompt_ids(teacher.tokenizer, problem, config.teacher_prompt)
        check_fits(student.model, plain, reference.token_ids, problem.id)
        check_fits(teacher.model, read, reference.token_ids, problem.id)
        rows.append(Row(problem.id, plain, read, reference.token_ids, [True] * len(reference.token_ids)))
    return in_batches(rows, student, config.batch_tokens)


def in_batches(rows: list[Row], student: LoadedModel, batch_tokens: int) -> Iterator[Batch]:
    """Batches of rows of similar length, each with at most `batch_tokens` padded student tokens, or with a single row."""

    def length(row: Row) -> int:
        return len(row.student_prompt) + len(row.response)

    groups: list[list[Row]] = []
    for row in sorted(rows, key=length):
        if not groups or (len(groups[-1]) + 1) * length(row) > batch_tokens:
            groups.append([])
        groups[-1].append(row)
    for group in groups:
        # The engine needs each layer's output per problem.
        yield collate(group, student.pad_id, positions=True).to(student.model.device)


def _save(path: Path, sums: GradientSums) -> None:
    with atomic_file(path) as file:
        np.savez(file, norms_squared=sums.norms_squared, sketches=sums.sketches, sum_norm_squared=np.array(sums.sum_norm_squared))


def load_sums(path: Path) -> GradientSums:
    """The gradient sums of one bin from its file. Raises `UserError` for a damaged file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return GradientSums(data["norms_squared"], data["sketches"], float(data["sum_norm_squared"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is corrupted ({error}); delete it and run the same command again") from error


def bin_data(bins: Bins | Ranges, references: dict[str, Reference], sums: list[GradientSums | None]) -> list[BinData]:
    """The data for estimates from each bin or range that has problems with a reference."""
    data = []
    for index, (members, bin_sums) in enumerate(zip(bins.members, sums, strict=True)):
        if bin_sums is None:
            continue
        used = [(name, count) for name, count in members if references[name].token_ids]
        passes, trials = np.mean([count for _, count in used]), bins.trials[index]
        data.append(
            BinData(
                pass_rate=float(passes / trials),
                posterior_pass_rate=float((passes + 0.5) / (trials + 1)),
                sums=bin_sums,
                offered=bins.drawn[index],
                range=bins.facts(index, [name for name, _ in used]),
            )
        )
    return data
