"""The gradient of the expected accuracy on held-out problems, from graded rollouts, in disjoint groups of problems.

For problem j with rollouts y_1, ..., y_S of rewards r_s in {0, 1} (REINFORCE with a leave-one-out baseline, Kool, van Hoof and Welling 2019):

    G_j = 1/S sum_s (r_s - mean of the other rewards) grad log pi(y_s | x_j),    log pi summed over the response's tokens.

It is an unbiased estimate of the gradient of E r, the accuracy on j. The baseline of y_s comes from other rollouts, so given x_j it is independent
of y_s, and its term vanishes since E grad log pi = 0. What remains is E r grad log pi = grad E r. Rollouts must be sampled from the distribution
whose log-probability is taken: temperature 1, all tokens up to the end or the limit. A rollout that was cut counts as failed, as everywhere.

The groups' gradients are independent estimates of one direction. So anything that is linear in it, such as an inner product, has an interval that
accounts for the sampling of held-out problems and of their rollouts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from paced_exp.core.atomic import atomic_file
from paced_exp.core.errors import UserError
from paced_exp.core.progress import progress
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import prompt_ids
from paced_exp.gradients.counted import counted
from paced_exp.gradients.fold import wide
from paced_exp.gradients.recomputing import recomputing
from paced_exp.losses.alignment import Batch, Row, check_fits
from paced_exp.losses.cross_entropy import CrossEntropy
from paced_exp.losses.fused_loss import FusedLoss
from paced_exp.losses.heads import plain_head
from paced_exp.losses.problem_loss import ProblemLoss
from paced_exp.models.loading import LoadedModel
from paced_exp.probe.config import ProbeConfig
from paced_exp.probe.measurement import in_batches
from paced_exp.rollouts.store import ChunkStore

GROUPS = 8  # disjoint groups of held-out problems: enough for an interval, few enough to hold their gradients beside the model
Direction = dict[str, torch.Tensor]  # a gradient by parameter
# Several by parameter, (J, *shape): one tensor each, since they are the most that the probe holds in memory.
Directions = dict[str, torch.Tensor]


def advantages(rewards: np.ndarray) -> np.ndarray:
    """(r_s - mean of the other rewards) / S, the factor of each rollout's grad log pi, from rewards (S,) with S >= 2.

    >>> advantages(np.array([1, 0, 0, 0])) * 4
    array([ 1.        , -0.33333333, -0.33333333, -0.33333333])
    """
    count, values = len(rewards), rewards.astype(np.float64)
    return np.asarray((values - (values.sum() - values) / (count - 1)) / count)


def in_groups(problems: list[Problem]) -> list[list[Problem]]:
    """The problems, distributed one by one over `GROUPS` groups, so that every group gets its share of each source."""
    return [problems[start::GROUPS] for start in range(GROUPS)]


def accuracy_gradients(problems: list[Problem], store: ChunkStore, student: LoadedModel, config: ProbeConfig, folder: Path) -> Directions:
    """GROUPS / N times the sum of G_j over each group of the N problems: their mean is the gradient of the expected accuracy.

    store: graded rollouts of every problem. config: of the probe, whose loss, batches and restriction to parameters hold here too. Finished
    groups are kept in `folder`.
    """
    names = counted(student.model, None if config.only is None else [config.only])
    dense = ProblemLoss(CrossEntropy(), reduction="sum")
    loss = FusedLoss(dense, plain_head(student.model, "student")) if config.loss == "fused" else dense

    def weighted(batch: Batch) -> torch.Tensor:
        """sum w * (-log pi(response)) over the rows."""
        with recomputing(student.model, config.checkpointing):
            return loss.weighted(student.model, batch, None, 1, 1)[0]

    found: Directions = {}
    with progress(GROUPS, "groups", "gradient of accuracy") as bar:
        for number, group in enumerate(in_groups(problems)):

            def make(group: list[Problem] = group) -> Direction:
                rows = [row for problem in group for row in rows_of(problem, store.rows_of(problem.id), student)]
                total = summed_gradient(student.model, names, in_batches(rows, student, config.batch_tokens), weighted)
                return {name: -GROUPS / len(problems) * gradient for name, gradient in total.items()}

            for name, values in kept_tensors(folder / f"group-{number:03d}.safetensors", make).items():
                found.setdefault(name, values.new_empty((GROUPS, *values.shape)))[number] = values
            bar.update()
    return found


def rows_of(problem: Problem, rollouts: list[dict[str, Any]], student: LoadedModel) -> list[Row]:
    """A row for each distinct response, weighted by the advantages of its rollouts; no rows if all are correct or all wrong."""
    found = advantages(np.array([rollout["correct"] for rollout in rollouts]))
    if not found.any():
        return []
    weights: dict[tuple[int, ...], float] = {}  # short answers recur, and equal rollouts share one backward pass
    for rollout, advantage in zip(rollouts, found, strict=True):
        tokens = tuple(map(int, rollout["token_ids"]))
        weights[tokens] = weights.get(tokens, 0.0) + float(advantage)
    prompt = prompt_ids(student.tokenizer, problem)
    rows = []
    for response, weight in weights.items():
        check_fits(student.model, prompt, response, problem.id)
        rows.append(Row(problem.id, prompt, prompt, list(response), [True] * len(response), weight))
    return rows


def summed_gradient(model: Any, names: dict[int, str], batches: Any, loss: Callable[[Batch], torch.Tensor]) -> Direction:
    """The gradient of `loss` summed over `batches`, in the counted parameters `names` (name by id); zero without a batch."""
    parameters = {names[id(parameter)]: parameter for parameter in model.parameters() if id(parameter) in names}
    total = {name: torch.zeros(p.shape, dtype=wide(p.dtype), device=p.device) for name, p in parameters.items()}
    for batch in batches:
        gradients = torch.autograd.grad(loss(batch), list(parameters.values()), materialize_grads=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            total[name] += gradient
    return total


def kept_tensors(path: Path, make: Callable[[], Direction]) -> Direction:
    """The tensors in the file `path`, which `make` makes if there is none. Raises `UserError` for a damaged file."""
    if not path.exists():
        made = make()
        with atomic_file(path) as file:
            file.write(save({name: tensor.cpu().contiguous() for name, tensor in made.items()}))
    try:
        return dict(sorted(load(path.read_bytes()).items()))  # safetensors gives them in any order, and sums depend on it
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is corrupted ({error}); delete it and run the same command again") from error


def norm_squared(directions: Directions, metric: Direction | None = None) -> float:
    """An unbiased estimate of ||E G||^2 from independent estimates of G: the mean of <G_a, G_b>, or of <G_a, D G_b> in a metric, over a != b."""
    cross, count = 0.0, len(next(iter(directions.values())))
    for name, values in directions.items():
        scale = 1.0 if metric is None else metric[name].double()
        total = torch.zeros_like(values[0], dtype=torch.float64)
        squares = 0.0
        for one in (row.double() for row in values):
            total += one
            squares += float((one.square() * scale).sum())
        cross += float((total.square() * scale).sum()) - squares
    return cross / (count * (count - 1))
