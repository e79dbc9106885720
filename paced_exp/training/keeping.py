"""Against forgetting: a penalty that is added to the loss (EWC, KL to the student before training), or an optimiser (CLASSP).

All read the same rehearsal: the student's own responses to problems that stand for what must be kept, sampled once, before training.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from paced_exp.data.problem import Problem
from paced_exp.data.prompts import prompt_ids
from paced_exp.data.sources import load_problems
from paced_exp.gradients.diagonal import mean_powers
from paced_exp.losses.alignment import Row, collate, supervised_logits
from paced_exp.losses.divergences import divergence
from paced_exp.losses.problem_loss import Dense, ProblemLoss
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Sampling
from paced_exp.rollouts.groups import RunContext
from paced_exp.training.classp import CLASSP
from paced_exp.training.config import DistillConfig
from paced_exp.training.student_rollouts import StudentRollouts
from paced_exp.training.teachers import frozen_copy, matmul_parameters


class Penalty(Protocol):
    """A term of each update's loss that does not depend on the problems trained on."""

    def __call__(self, student: Any, step: int) -> torch.Tensor:
        """The penalty of update `step`, in nats, with its graph."""
        ...

    def flops(self, step: int) -> float:
        """Number of floating-point operations of the penalty and its gradient."""
        ...


class EWC:
    """Elastic weight consolidation (Kirkpatrick et al. 2017): strength/2 x sum_j F_j (theta_j - theta_j*)^2, from the parameters as they are now.

    fisher: F by parameter name, the diagonal of the Fisher information of whole responses. To second order, the sum with strength 1 is the KL
    divergence of a rehearsed response, if the Fisher information were diagonal.
    """

    def __init__(self, student: Any, fisher: dict[str, torch.Tensor], strength: float) -> None:
        self._strength = strength
        self._start = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
        self._fisher = {name: fisher[name].to(start) for name, start in self._start.items()}

    def __call__(self, student: Any, step: int) -> torch.Tensor:
        terms = [(self._fisher[name] * (parameter - self._start[name]).square()).sum() for name, parameter in student.named_parameters()]
        return 0.5 * self._strength * torch.stack(terms).sum()

    def flops(self, step: int) -> float:
        return float(6 * sum(start.numel() for start in self._start.values()))


class KLToStart:
    """strength x the mean over some rehearsal rows of KL(pi_0 || pi), per token, pi_0 the student as it is now. Rows take turns.

    batch: rows per update, at most all. seed: of the order of rows.
    """

    def __init__(self, student: Any, rows: Sequence[Row], pad_id: int, batch: int, strength: float, seed: int) -> None:
        self._before = frozen_copy(student)
        self._rows = [rows[place] for place in np.random.default_rng([seed, 3]).permutation(len(rows))]
        self._pad_id, self._batch, self._strength = pad_id, min(batch, len(rows)), strength
        self._loss = ProblemLoss(divergence("forward_kl", jsd_beta=0.5))

    def rows(self, step: int) -> list[Row]:
        """The rows of update `step`."""
        return [self._rows[(step * self._batch + place) % len(self._rows)] for place in range(self._batch)]

    def __call__(self, student: Any, step: int) -> torch.Tensor:
        batch = collate(self.rows(step), self._pad_id).to(next(student.parameters()).device)
        with torch.no_grad():
            before = Dense(supervised_logits(self._before, batch.student))
        return self._strength * self._loss(student, batch, before).mean()

    def flops(self, step: int) -> float:
        tokens = sum(row.student_tokens for row in self.rows(step))
        return float(8 * matmul_parameters(self._before) * tokens)


@dataclass(frozen=True)
class Keeping:
    """What a run does against forgetting. flops: spent before training, on the rehearsal's responses and gradients."""

    penalty: Penalty | None = None
    optimizer: torch.optim.Optimizer | None = None
    flops: float = 0.0


def make_keeping(config: DistillConfig, context: RunContext, student: LoadedModel) -> Keeping:
    """What `config.forgetting` asks for; the student must be as before training. Raises `UserError` for unsuitable rehearsal problems."""
    if config.forgetting == "none":
        return Keeping()
    rows = rehearsal_rows(config, context, student)
    tokens, parameters = sum(row.student_tokens for row in rows), matmul_parameters(student.model)
    sampled = 2.0 * parameters * tokens
    if config.forgetting == "kl":
        return Keeping(
            KLToStart(student.model, rows, student.pad_id, config.rehearsal_batch, config.forgetting_strength, config.seed), flops=sampled
        )
    power = 2.0 if config.forgetting == "ewc" else config.classp_power
    whole = config.forgetting == "ewc"  # a likelihood's gradient is of the whole response; an update's is of the mean over its tokens
    powers = mean_powers(student.model, [partial(_log_loss, student, row, whole) for row in rows], power)
    spent = sampled + 6.0 * parameters * tokens
    if config.forgetting == "ewc":
        return Keeping(EWC(student.model, powers, config.forgetting_strength), flops=spent)
    # As if the student had learnt the rehearsal in updates of one response each.
    start = {parameter: len(rows) * powers[name] for name, parameter in student.model.named_parameters()}
    optimizer = CLASSP(student.model.parameters(), config.learning_rate, power=power, threshold=config.classp_threshold, start=start)
    return Keeping(optimizer=optimizer, flops=spent)


def rehearsal_problems(config: DistillConfig) -> list[Problem]:
    """The rehearsal problems; none where nothing is done against forgetting. Raises `UserError` as `load_problems` does."""
    if config.forgetting == "none":
        return []
    return load_problems(config.rehearsal, limit=config.rehearsal_limit, seed=config.seed)


def rehearsal_rows(config: DistillConfig, context: RunContext, student: LoadedModel) -> list[Row]:
    """The rehearsal problems with a response of the student to each, kept in the run's folder, in `rehearsal`."""
    problems = rehearsal_problems(config)
    folder = context.folder / "rehearsal"
    folder.mkdir(exist_ok=True)
    sampling = Sampling(1, config.max_new_tokens, config.temperature, config.seed)
    rollouts = StudentRollouts(replace(context, folder=folder), student, problems, sampling, half=config.samples_in_half)
    responses = rollouts.responses(range(len(problems)), 0, 0)
    rows = []
    for problem, response in zip(problems, responses, strict=True):
        prompt = prompt_ids(student.tokenizer, problem)
        rows.append(Row(problem.id, prompt, prompt, response, [True] * len(response)))
    return rows


def _log_loss(student: LoadedModel, row: Row, whole: bool) -> torch.Tensor:
    """-log pi of the row's response, (1,), summed over its tokens, or (not `whole`) their mean."""
    loss = ProblemLoss(divergence("cross_entropy", jsd_beta=0.5), reduction="sum" if whole else "mean")
    return loss(student.model, collate([row], student.pad_id, positions=True).to(student.device), None)
