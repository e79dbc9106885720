"""What the gradient benchmark compares: models of three sizes, batches of lab problems, and four ways to their gradients."""

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping

from paced_exp.data.lab.splits import lab_problems
from paced_exp.data.prompts import prompt_ids
from paced_exp.gradients.engine import PerProblemGradients, Sketch
from paced_exp.lab.recipes import Recipe, build_model
from paced_exp.lab.tokenizer import END, save_tokenizer
from paced_exp.losses.alignment import Row, collate
from paced_exp.losses.cross_entropy import CrossEntropy
from paced_exp.losses.problem_loss import ProblemLoss

# By millions of parameters, the embedding of the lab's 543 tokens aside; 0.8 is the shape of the shipped lab models.
_SHAPE = Recipe(architecture="qwen3", hidden=128, layers=4, intermediate=384, pools=0, seed=0)
SIZES = {
    "0.1": replace(_SHAPE, hidden=48, layers=2, intermediate=144),
    "0.8": _SHAPE,
    "5": replace(_SHAPE, hidden=256, layers=6, intermediate=768, heads=8),
}
BATCH_TOKENS = 4096  # the probe's default
SKETCH_SIZE = 4096

Batch = list[tuple[list[int], list[int]]]
Contender = Callable[[Batch], object]


def tokenizer() -> Any:
    """The lab's tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        return save_tokenizer(Path(folder))


def model_of(size: str, vocabulary: Any) -> Any:
    """The untrained model of a size: neither time nor memory depends on the weights."""
    return build_model(SIZES[size], vocabulary)


def batches_of(problems: int, vocabulary: Any) -> list[Batch]:
    """The first lab:train problems as (prompt, worked solution), in batches as the probe makes them: by length, a budget of padded tokens."""
    rows = [
        (prompt_ids(vocabulary, problem), vocabulary(f"{problem.solution}{END}", add_special_tokens=False)["input_ids"])
        for problem in itertools.islice(lab_problems("train", 0), problems)
    ]
    batches: list[Batch] = [[]]
    for row in sorted(rows, key=lambda row: len(row[0]) + len(row[1])):
        if batches[-1] and (len(batches[-1]) + 1) * (len(row[0]) + len(row[1])) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches


def losses(model: Any, batch: Batch) -> torch.Tensor:
    """Cross-entropy on the worked solution, mean over its tokens, (B,). No teacher: its forward pass would flatter every ratio."""
    rows = [Row("", prompt, prompt, response, [True] * len(response)) for prompt, response in batch]
    return ProblemLoss(CrossEntropy())(model, collate(rows, 0, positions=True).to(model.device), None)


def plain(model: Any) -> Contender:
    """Batched forward and backward pass: the batch's gradient alone, added up in .grad."""
    return lambda batch: losses(model, batch).sum().backward()


def engine(model: Any, *, sketch: bool) -> Contender:
    """`PerProblemGradients`: norms and the sum, and sketches if asked for. The checks of its first batch are part of the cost."""
    gradients = PerProblemGradients(model, Sketch(model, SKETCH_SIZE, 0) if sketch else None)
    return lambda batch: gradients.accumulate(len(batch), lambda: losses(model, batch))


def opacus(model: Any) -> Contender:
    """Opacus' fast gradient clipping, its first pass alone: norms, and the sum in .grad. Its ghost form refuses tied parameters."""
    wrapped = GradSampleModuleFastGradientClipping(model.train(), use_ghost_clipping=False, strict=False, loss_reduction="sum")
    wrapped.device = model.device

    def run(batch: Batch) -> torch.Tensor:
        losses(wrapped, batch).sum().backward()
        return wrapped.get_norm_sample()

    return run


def loop(model: Any) -> Contender:
    """One forward and backward pass a problem: its norm, and the sum added up."""
    parameters = list(model.parameters())
    total = [torch.zeros_like(parameter) for parameter in parameters]

    def run(batch: Batch) -> list[float]:
        norms = []
        for row in batch:
            found = torch.autograd.grad(losses(model, [row]).sum(), parameters)
            norms.append(float(sum(gradient.square().sum() for gradient in found)))
            torch._foreach_add_(total, found)
        return norms

    return run


# Made anew for every measurement, each with its own copy of the model.
CONTENDERS: dict[str, Callable[[Any], Contender]] = {
    "plain": plain,
    "engine": lambda model: engine(model, sketch=False),
    "engine with sketch": lambda model: engine(model, sketch=True),
    "Opacus fast gradient clipping": opacus,
    "loop of single passes": loop,
}
