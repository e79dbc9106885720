"""What the gradient benchmark compares: models of four sizes, batches of problems, and the ways to their gradients."""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from transformers import LlamaConfig, LlamaForCausalLM

from paced_exp.data.lab.splits import lab_problems
from paced_exp.data.prompts import prompt_ids
from paced_exp.gradients.engine import PerProblemGradients, Sketch
from paced_exp.lab.recipes import Recipe, build_model
from paced_exp.lab.tokenizer import END, save_tokenizer
from paced_exp.losses import alignment
from paced_exp.losses.alignment import Row, collate
from paced_exp.losses.cross_entropy import CrossEntropy
from paced_exp.losses.fused_loss import FusedLoss
from paced_exp.losses.heads import plain_head
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
# A large vocabulary: the shape of SmolLM2-135M with a tied head, random weights, and batches of random tokens.
LARGE = "135"
_SMOL = {
    "vocab_size": 49_152,
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
_LARGE_PROBLEMS, _LARGE_PROMPT, _LARGE_RESPONSE = 4, 32, 96  # of a batch, and tokens of a problem

Batch = list[tuple[list[int], list[int]]]
Contender = Callable[[Batch], object]
LOSS = ProblemLoss(CrossEntropy())


def tokenizer() -> Any:
    """The lab's tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        return save_tokenizer(Path(folder))


def model_of(size: str, vocabulary: Any) -> Any:
    """The untrained model of a size: neither time nor memory depends on the weights."""
    if size != LARGE:
        return build_model(SIZES[size], vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**_SMOL)).eval()


def batches_of(size: str, problems: int, vocabulary: Any) -> list[Batch]:
    """The first lab:train problems as (prompt, worked solution), in batches as the probe makes them: by length, a budget of padded tokens.

    Of the large model, whose vocabulary is another: random tokens, in batches of few.
    """
    if size == LARGE:
        return _random_batches(problems)
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


def _random_batches(problems: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(_SMOL["vocab_size"], (problems, _LARGE_PROMPT + _LARGE_RESPONSE), generator=generator).tolist()
    rows = [(row[:_LARGE_PROMPT], row[_LARGE_PROMPT:]) for row in ids]
    return [rows[start : start + _LARGE_PROBLEMS] for start in range(0, len(rows), _LARGE_PROBLEMS)]


def collated(model: Any, batch: Sequence[tuple[list[int], list[int]]]) -> alignment.Batch:
    """A batch as tensors, all of its response supervised."""
    rows = [Row("", prompt, prompt, response, [True] * len(response)) for prompt, response in batch]
    return collate(rows, 0, positions=True).to(model.device)


def losses(model: Any, batch: Batch) -> torch.Tensor:
    """Cross-entropy on the worked solution, mean over its tokens, (B,), from all logits. No teacher: its forward pass would flatter every ratio."""
    return LOSS(model, collated(model, batch), None)


def plain(model: Any) -> Contender:
    """Batched forward and backward pass with the fused loss: the batch's gradient alone, added up in .grad."""
    fused = FusedLoss(LOSS, plain_head(model, "student"))
    return lambda batch: fused.weighted(model, collated(model, batch), None, 1, 1)[0].backward()


def engine(model: Any, *, sketch: bool, dense: bool = False) -> Contender:
    """`PerProblemGradients`: norms and the sum, and sketches if asked for. The checks of its first batch are part of the cost.

    dense: from all logits of a batch, rather than with the fused loss.
    """
    gradients = PerProblemGradients(model, Sketch(model, SKETCH_SIZE, 0) if sketch else None)
    if dense:
        return lambda batch: gradients.accumulate(len(batch), partial(losses, model, batch))
    fused = FusedLoss(LOSS, plain_head(model, "student"))
    head = gradients.head(fused.head.module)
    return lambda batch: gradients.accumulate(len(batch), lambda: fused(model, collated(model, batch), None, head))


def opacus(model: Any) -> Contender:
    """Opacus' fast gradient clipping, its first pass alone: norms, and the sum in .grad. Its ghost form refuses tied parameters."""
    wrapped = GradSampleModuleFastGradientClipping(model.train(), use_ghost_clipping=False, strict=False, loss_reduction="sum")
    wrapped.device = model.device

    def run(batch: Batch) -> torch.Tensor:
        losses(wrapped, batch).sum().backward()
        return wrapped.get_norm_sample()

    return run


def dattri(model: Any) -> Contender:
    """dattri-llm: norms, without the cross term of a tied head, and the sum in .grad. Raises `ModuleNotFoundError` without the package."""
    from bench.dattri_norms import norms_by_dattri

    return norms_by_dattri(model, losses)


def loop(model: Any) -> Contender:
    """One forward and backward pass a problem, with the fused loss: its norm, and the sum added up."""
    parameters = list(model.parameters())
    total = [torch.zeros_like(parameter) for parameter in parameters]
    fused = FusedLoss(LOSS, plain_head(model, "student"))

    def run(batch: Batch) -> list[float]:
        norms = []
        for row in batch:
            found = torch.autograd.grad(fused.weighted(model, collated(model, [row]), None, 1, 1)[0], parameters)
            norms.append(float(sum(gradient.square().sum() for gradient in found)))
            torch._foreach_add_(total, found)
        return norms

    return run


DATTRI = "dattri-llm"
# Made anew for every measurement, each with its own copy of the model. Those that need a head's logits take the dense loss.
CONTENDERS: dict[str, Callable[[Any], Contender]] = {
    "plain": plain,
    "engine": lambda model: engine(model, sketch=False),
    "engine with sketch": lambda model: engine(model, sketch=True),
    "engine, dense loss": lambda model: engine(model, sketch=False, dense=True),
    DATTRI: dattri,
    "Opacus fast gradient clipping": opacus,
    "loop of single passes": loop,
}
# At a large vocabulary, where Opacus would hold a head a problem.
LARGE_CONTENDERS = ("plain", "engine", "engine with sketch", "engine, dense loss", DATTRI)


def contenders_of(size: str, without_dattri: bool) -> dict[str, Callable[[Any], Contender]]:
    """Those that are compared at a size."""
    return {
        name: make
        for name, make in CONTENDERS.items()
        if (size != LARGE or name in LARGE_CONTENDERS) and not (without_dattri and name == DATTRI)
    }
