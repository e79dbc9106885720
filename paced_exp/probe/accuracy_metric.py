"""The metric of an Adam step at the probed student: D = diag(1 / (sqrt(v) + eps)), v the second moment of its gradients.

Adam moves along -D g and not along -g. If the student is the `model` folder of a distillation with its last checkpoint beside it, as in a probe at
several updates, v is read from that optimiser, with its bias corrected. Otherwise, v is what an optimiser would settle to on the probed pool: the
mean square, by coordinate, of the gradients of `COUNT` mini-batches of `SIZE` problems. Problems are drawn with replacement: first a bin, with the
share of problems that fall into it as its probability, then one of the bin's probed problems.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import Trainer

from paced_exp.core.checkpoints import MANIFEST, checkpoints, fault, step_of
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_object
from paced_exp.core.progress import progress
from paced_exp.data.problem import Problem
from paced_exp.gradients.counted import counted
from paced_exp.gradients.recomputing import recomputing
from paced_exp.losses.alignment import Batch
from paced_exp.models.loading import LoadedModel
from paced_exp.probe.accuracy_gradient import Direction, kept_tensors, summed_gradient
from paced_exp.probe.config import ProbeConfig
from paced_exp.probe.measurement import gradient_batches, loss_of
from paced_exp.rollouts.references import Reference

COUNT, SIZE = 16, 32  # mini-batches and the problems of each: a training's batch by default
EPS = 1e-8  # AdamW's
Pairs = list[tuple[Problem, Reference]]


@dataclass(frozen=True)
class SecondMoment:
    """v by parameter, the eps of the optimiser, and the origin of v for the record."""

    values: Direction
    eps: float
    origin: dict[str, Any]

    def metric(self) -> Direction:
        """The diagonal of D by parameter."""
        return {name: 1 / (values.sqrt() + self.eps) for name, values in self.values.items()}


def second_moment(
    config: ProbeConfig, pools: list[tuple[float, Pairs]], student: LoadedModel, teacher: LoadedModel, folder: Path
) -> SecondMoment:
    """v of the student, from its optimiser if there is one, else from mini-batches, which are kept in `folder`.

    pools: for each bin, the share of all problems that fall into it, and its probed problems with their responses.
    """
    names = counted(student.model, None if config.only is None else [config.only])
    found = of_checkpoint(config.student, student.model, names)
    if isinstance(found, SecondMoment):
        return found
    values = kept_tensors(folder / "second_moment.safetensors", partial(_of_mini_batches, config, pools, student, teacher, names))
    return SecondMoment(values, EPS, {"from": "mini-batches", "count": COUNT, "size": SIZE, "why": found})


def of_checkpoint(student: str, model: Any, names: dict[int, str]) -> SecondMoment | str:
    """v from the last checkpoint of the distillation whose `model` folder is `student`, or the reason why there is none.

    names: of the counted parameters, by id. The checkpoint must hold exactly the student's weights.
    """
    folder = Path(student)
    if folder.name != "model" or not (saved := checkpoints(folder.parent / "training")):
        return "the student is no distillation's, with its last checkpoint beside it"
    last = saved[-1]
    try:
        wrong = fault(last, read_object(last / MANIFEST)["files"])
        if wrong is not None:
            return f"{last.name} is damaged: {wrong}"
        weights, own = (load_file(place / "model.safetensors") for place in (last, folder))
        state = torch.load(last / "optimizer.pt", map_location="cpu", weights_only=True)
    except (UserError, OSError, KeyError) as error:
        return f"{last.name} holds no whole state of model and optimiser ({type(error).__name__})"
    if weights.keys() != own.keys() or not all(torch.equal(weights[name], own[name]) for name in own):
        return f"{last.name} holds another model than the student"
    # The optimiser numbers parameters in the model's order, but those with weight decay first.
    decayed = set(Trainer.get_decay_parameter_names(cast(Any, None), model))
    order = sorted(model.named_parameters(), key=lambda pair: pair[0] not in decayed)
    states, groups = state.get("state", {}), state.get("param_groups", [])
    if len(states) != len(order) or any("exp_avg_sq" not in states.get(number, {}) for number in range(len(order))):
        return f"{last.name} is of an optimiser other than Adam"
    values: Direction = {}
    for number, (name, parameter) in enumerate(order):
        found = states[number]["exp_avg_sq"]
        if found.shape != parameter.shape:
            return f"{last.name} is of an optimiser of other parameters"
        if id(parameter) in names:
            values[name] = found / (1 - groups[0]["betas"][1] ** float(states[number]["step"]))
    return SecondMoment(values, float(groups[0]["eps"]), {"from": "checkpoint", "updates": step_of(last)})


def _of_mini_batches(
    config: ProbeConfig, pools: list[tuple[float, Pairs]], student: LoadedModel, teacher: LoadedModel, names: dict[int, str]
) -> Direction:
    loss, frozen = loss_of(config, student, teacher)
    rng = np.random.default_rng([config.seed, 3])
    shares = np.array([share for share, _ in pools])
    total: Direction = {}

    def mean(batch: Batch) -> torch.Tensor:
        with recomputing(student.model, config.checkpointing):
            return loss.weighted(student.model, batch, frozen.targets(batch), SIZE, 1)[0]

    with progress(COUNT, "mini-batches", "second moment") as bar:
        for _ in range(COUNT):
            bins = rng.choice(len(pools), size=SIZE, p=shares / shares.sum())
            pairs = [pools[index][1][rng.integers(len(pools[index][1]))] for index in bins]
            gradient = summed_gradient(student.model, names, gradient_batches(config, pairs, student, teacher), mean)
            for name, values in gradient.items():
                total[name] = total.get(name, torch.zeros_like(values)) + values.square() / COUNT
            bar.update()
    return total
