"""What the tests of gradients share: small models, problems with losses, and each problem's gradient by the plainest means."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from paced_exp.losses.alignment import Row, collate
from paced_exp.losses.cross_entropy import CrossEntropy
from paced_exp.losses.kl import ForwardKL
from paced_exp.losses.problem_loss import ProblemLoss
from paced_exp.training.teachers import ModelTeacher
from tests.support.tiny_models import tiny_model

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [0, 1, 2], [17, 18, 18]]
RESPONSES = [[20, 21, 22, 23, 1], [30, 1], [31], [0, 0, 1], [40, 40, 40, 1]]
ALL = [0, 1, 2, 3, 4]
SIZE = 256  # of sketches
KINDS = ["qwen3", "qwen3-untied", "llama", "gpt2"]


def model_of(kind: str, dtype: torch.dtype = torch.float64) -> Any:
    model = tiny_model(kind.removesuffix("-untied"), dtype=dtype)
    if kind.endswith("-untied"):
        generator = torch.Generator().manual_seed(9)
        model.lm_head.weight = nn.Parameter(torch.randn(model.lm_head.weight.shape, generator=generator).to(dtype) * 0.3)
    return model


def losses_of(model: Any, teacher: Any, rows: list[int]) -> torch.Tensor:
    """Per-problem losses (rows,) of some of the problems, in one forward pass; forward KL, or cross-entropy without a teacher."""
    prompts, responses = [PROMPTS[row] for row in rows], [RESPONSES[row] for row in rows]
    return losses_on(model, teacher, prompts, prompts, responses)


def losses_on(model: Any, teacher: Any, prompts: list[list[int]], read: list[list[int]], responses: list[list[int]]) -> torch.Tensor:
    rows = [Row("", own, theirs, response, [True] * len(response)) for own, theirs, response in zip(prompts, read, responses, strict=True)]
    batch = collate(rows, 0, positions=True)
    if teacher is None:
        return ProblemLoss(CrossEntropy())(model, batch, None)
    return ProblemLoss(ForwardKL())(model, batch, ModelTeacher(teacher).targets(batch))


def single_gradients(model: Any, teacher: Any) -> torch.Tensor:
    """Each problem's gradient from its own backward pass, (problems, parameters), in float64."""
    made = []
    for row in range(len(PROMPTS)):
        gradients = torch.autograd.grad(losses_of(model, teacher, [row]).sum(), list(model.parameters()))
        made.append(torch.cat([gradient.double().flatten() for gradient in gradients]))
    return torch.stack(made)


def jvp_inner_products(model: Any, losses: Callable[[Any], torch.Tensor], direction: dict[str, torch.Tensor]) -> torch.Tensor:
    """<g_i, direction> of every problem (batch,) by forward-mode differentiation of the losses along it: no gradient is ever taken.

    losses: of something that is called as the model is. direction: by parameter; a tied one is named once.
    """
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def along(values: dict[str, torch.Tensor]) -> torch.Tensor:
        return losses(lambda **inputs: torch.func.functional_call(model, values, (), inputs))

    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward derivative
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)  # as torch loads its own rules
        products: torch.Tensor = torch.func.jvp(along, (parameters,), (direction,))[1]
    return products
