"""Per-problem gradients from one batched backward pass, against a loop of single backward passes and torch.func."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_model
from torch import nn

from paced_exp.alignment import pad_responses, response_logits
from paced_exp.errors import UserError
from paced_exp.gradients import GradientSums, PerProblemGradients, Sketch
from paced_exp.losses import cross_entropy, forward_kl, mean_over_tokens

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [0, 1, 2], [17, 18, 18]]
RESPONSES = [[20, 21, 22, 23, 1], [30, 1], [31], [0, 0, 1], [40, 40, 40, 1]]
SIZE = 256
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
    padded = pad_responses(responses, torch.device("cpu"))
    student_logits = response_logits(model, prompts, responses)
    if teacher is None:
        return mean_over_tokens(cross_entropy(student_logits, student_logits, padded.tokens), padded.mask)
    with torch.no_grad():
        teacher_logits = response_logits(teacher, prompts, responses)
    return mean_over_tokens(forward_kl(student_logits, teacher_logits, padded.tokens), padded.mask)


def single_gradients(model: Any, teacher: Any) -> torch.Tensor:
    """Each problem's gradient from its own backward pass, (problems, parameters), in float64."""
    made = []
    for row in range(len(PROMPTS)):
        gradients = torch.autograd.grad(losses_of(model, teacher, [row]).sum(), list(model.parameters()))
        made.append(torch.cat([gradient.double().flatten() for gradient in gradients]))
    return torch.stack(made)


def accumulated(model: Any, teacher: Any, batches: list[list[int]], seed: int = 0) -> GradientSums:
    engine = PerProblemGradients(model, Sketch(model, SIZE, seed))
    for rows in batches:
        engine.accumulate(len(rows), partial(losses_of, model, teacher, rows))
    return engine.sums()


def sketched(model: Any, gradients: torch.Tensor, seed: int = 0) -> np.ndarray:
    """The count sketch of whole gradients (problems, parameters)."""
    sketch, out, start = Sketch(model, SIZE, seed), torch.zeros(len(gradients), SIZE, dtype=gradients.dtype), 0
    for parameter in model.parameters():
        sketch.add(out, parameter, gradients[:, start : start + parameter.numel()])
        start += parameter.numel()
    return out.numpy()


ALL = [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_a_loop_of_single_backward_passes(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    model, teacher = model_of(kind, dtype), tiny_model("qwen3", seed=1, dtype=dtype)
    expected = single_gradients(model, teacher)
    found = accumulated(model, teacher, [ALL])
    np.testing.assert_allclose(found.norms_squared, expected.square().sum(1).numpy(), rtol=tolerance)
    assert found.sum_norm_squared == pytest.approx(expected.sum(0).square().sum().item(), rel=tolerance)
    if dtype != torch.bfloat16:
        scale = float(expected.norm(dim=1).max())
        np.testing.assert_allclose(found.sketches, sketched(model, expected), atol=max(tolerance, 1e-6) * scale, rtol=0)
    assert found.sketches.shape == (5, SIZE) and found.sketches.dtype == np.float32


# GPT-2 looks for padding with .item(), which vmap does not allow; fused attention has no batching rule, and eager attention takes its
# softmax in float32, hence the tolerance.
@pytest.mark.parametrize("kind", ["qwen3", "qwen3-untied", "llama"])
def test_agrees_with_torch_func(kind: str) -> None:
    model, eager = model_of(kind), model_of(kind)
    eager.set_attn_implementation("eager")
    parameters_once = {name: parameter.detach() for name, parameter in eager.named_parameters()}
    prompts, response = torch.tensor([[5, 6, 7], [8, 9, 10]]), torch.tensor([[20, 21, 1], [30, 31, 32]])
    ids = torch.cat([prompts, response], 1)
    positions = torch.arange(6)[None]

    def loss(parameters: dict[str, torch.Tensor], row: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        output = torch.func.functional_call(eager, parameters, (), {"input_ids": row[None], "position_ids": positions, "use_cache": False})
        return cross_entropy(output.logits[0, 2:5], output.logits[0, 2:5], target).mean()

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters_once, ids, response)
    flat = torch.cat([gradients[name].flatten(1) for name in parameters_once], 1)

    engine = PerProblemGradients(model, Sketch(model, SIZE, 0))
    mask = torch.ones(2, 3, dtype=torch.bool)

    def batched() -> torch.Tensor:
        logits = response_logits(model, prompts.tolist(), response.tolist())
        return mean_over_tokens(cross_entropy(logits, logits, response), mask)

    engine.accumulate(2, batched)
    np.testing.assert_allclose(engine.sums().norms_squared, flat.square().sum(1).numpy(), rtol=2e-6)
    assert engine.sums().sum_norm_squared == pytest.approx(flat.sum(0).square().sum().item(), rel=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_around_a_problem_does_not_matter(kind: str) -> None:
    model, teacher = model_of(kind), tiny_model("llama", seed=1, dtype=torch.float64)
    whole = accumulated(model, teacher, [ALL])
    for batches in ([[row] for row in ALL], [[0, 1], [2, 3, 4]]):
        split = accumulated(model, teacher, batches)
        np.testing.assert_allclose(split.norms_squared, whole.norms_squared, rtol=1e-10)
        np.testing.assert_allclose(split.sketches, whole.sketches, rtol=1e-5, atol=1e-6)
        assert split.sum_norm_squared == pytest.approx(whole.sum_norm_squared, rel=1e-10)


def test_losses_are_returned_and_signs_cancel_in_the_sum() -> None:
    model = model_of("qwen3")
    engine = PerProblemGradients(model, Sketch(model, SIZE, 0))
    values = engine.accumulate(5, partial(losses_of, model, None, ALL))
    torch.testing.assert_close(values, losses_of(model, None, ALL).detach())
    engine.accumulate(5, lambda: -losses_of(model, None, ALL))
    assert engine.sums().sum_norm_squared < 1e-20 < engine.sums().norms_squared.min()
    assert engine.sums().norms_squared[:5] == pytest.approx(engine.sums().norms_squared[5:])


def test_a_model_may_be_its_own_teacher() -> None:
    model = model_of("qwen3")
    copy = model_of("qwen3")

    def own(student: Any, teacher: Any) -> torch.Tensor:
        student_logits = response_logits(student, PROMPTS, RESPONSES)
        with torch.no_grad():
            teacher_logits = response_logits(teacher, [[*prompt, 3, 4] for prompt in PROMPTS], RESPONSES)
        padded = pad_responses(RESPONSES, torch.device("cpu"))
        return mean_over_tokens(forward_kl(student_logits, teacher_logits, padded.tokens), padded.mask)

    results = []
    for teacher in (model, copy):
        engine = PerProblemGradients(model, Sketch(model, SIZE, 0))
        engine.accumulate(5, partial(own, model, teacher))
        results.append(engine.sums())
    np.testing.assert_array_equal(results[0].norms_squared, results[1].norms_squared)


# ---- the model is left as it was


def state_of(model: Any) -> tuple[list[bool], list[Any], int]:
    hooks = sum(len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules())
    return [p.requires_grad for p in model.parameters()], [p.grad for p in model.parameters()], hooks


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("batch", [1, 2], ids=["first batch", "second batch"])
def test_hooks_requires_grad_and_grad_are_put_back(fails: bool, batch: int) -> None:
    model = model_of("qwen3")
    frozen = next(iter(model.parameters()))
    frozen.requires_grad_(False)
    model.lm_head.weight.grad = torch.ones_like(model.lm_head.weight)
    before = state_of(model)
    engine = PerProblemGradients(model, Sketch(model, SIZE, 0))

    def failing() -> torch.Tensor:
        losses_of(model, None, ALL)
        raise RuntimeError("out of memory")

    for number in range(1, batch + 1):
        if fails and number == batch:
            with pytest.raises(RuntimeError, match="out of memory"):
                engine.accumulate(5, failing)
        else:
            engine.accumulate(5, partial(losses_of, model, None, ALL))
    after = state_of(model)
    assert after[0] == before[0] and after[2] == before[2] == 0
    assert all(one is other for one, other in zip(before[1], after[1], strict=True))
    frozen.requires_grad_(True)
    torch.testing.assert_close(single_gradients(model, None), single_gradients(model_of("qwen3"), None))


# ---- what cannot be done exactly is refused


class Scale(nn.Module):
    """A layer with a parameter of its own that no rule knows."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gain


class OffsetRMSNorm(nn.Module):
    """Named like Llama's norm, with its attribute, but it multiplies by 1 + 2 weight: the rule's formula would be wrong by a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))
        self.variance_epsilon = 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon) * (1 + 2 * self.weight)


INPUT = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))


def run(model: nn.Module, forward: Callable[[], torch.Tensor], rows: int = 3) -> None:
    PerProblemGradients(model, Sketch(model, SIZE, 0)).accumulate(rows, forward)


def test_an_unknown_layer_names_its_parameter() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Scale())
    with pytest.raises(UserError, match=r"parameter '1.gain' belongs to a Scale \(gain\)"):
        PerProblemGradients(model, Sketch(model, SIZE, 0))


def test_a_layer_that_computes_something_else_than_its_rule_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), OffsetRMSNorm())
    with pytest.raises(UserError, match=r"parameter '1.weight' was not used through its own layer's forward pass alone"):
        run(model, lambda: model(INPUT).square().sum((1, 2)))


def test_a_head_read_by_a_fused_kernel_is_refused_also_where_it_is_tied() -> None:
    for kind, name in (("qwen3", "model.embed_tokens.weight"), ("qwen3-untied", "lm_head.weight")):
        model = model_of(kind)
        ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
        positions = torch.arange(3).expand_as(ids)

        def fused(model: Any = model, ids: torch.Tensor = ids, positions: torch.Tensor = positions) -> torch.Tensor:
            hidden = model.model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
            return (hidden @ model.lm_head.weight.T).logsumexp(-1).mean(1)

        with pytest.raises(UserError, match=f"parameter '{name}' was not used through its own layer's forward pass"):
            run(model, fused, rows=2)


def test_a_weight_read_beside_its_layer_is_refused() -> None:
    model = nn.Linear(4, 4)
    with pytest.raises(UserError, match="parameter 'weight' was not used through its own layer's forward pass alone"):
        run(model, lambda: model(INPUT).square().sum((1, 2)) + model.weight.square().sum())


def test_a_layer_that_the_loss_does_not_reach_is_refused() -> None:
    model = nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4)})
    with pytest.raises(UserError, match=r"parameter 'unused.weight' was not used"):
        run(model, lambda: model["used"](INPUT).square().sum((1, 2)))


def test_position_embeddings_broadcast_over_the_batch_are_refused() -> None:
    model = model_of("gpt2")
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    with pytest.raises(UserError, match=r"parameter 'transformer.wpe.weight' gave 1 rows for a batch of 2.*pass position_ids"):
        run(model, lambda: model(input_ids=ids, use_cache=False).logits.logsumexp(-1).mean(1), rows=2)


def test_losses_that_are_not_finite_or_not_one_a_problem_are_refused() -> None:
    model = nn.Linear(4, 4)
    with pytest.raises(UserError, match="the loss of row 1 of a batch is nan"):
        run(model, lambda: model(INPUT).square().sum((1, 2)) * torch.tensor([1.0, float("nan"), 1.0]))
    with pytest.raises(ValueError, match=r"losses must have shape \(3,\), got \(3, 5\)"):
        run(model, lambda: model(INPUT).square().sum(2))


# ---- single rules on shapes that the language models do not have


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (nn.Linear(4, 6), INPUT),
        (nn.Linear(4, 6), INPUT[:, 0]),
        (nn.Linear(4, 6, bias=False), INPUT.reshape(3, 1, 5, 4)),
        (nn.LayerNorm(4), INPUT),
        (nn.LayerNorm(4, bias=False), INPUT.reshape(3, 1, 5, 4)),
        (nn.Embedding(7, 4), torch.tensor([[0, 1, 1], [6, 6, 6], [2, 0, 3]])),
        (nn.Embedding(7, 4, padding_idx=0), torch.tensor([[0, 1, 1], [6, 6, 6], [2, 0, 3]])),
    ],
    ids=["linear", "linear 2-d", "linear 4-d", "layer norm", "layer norm 4-d", "embedding", "embedding with padding"],
)
def test_each_rule_alone(model: nn.Module, example: torch.Tensor) -> None:
    model = model.double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    example = example.double() if example.is_floating_point() else example

    def losses(x: torch.Tensor) -> torch.Tensor:
        return (model(x) + 0.3).pow(3).flatten(1).sum(1)

    engine = PerProblemGradients(model, Sketch(model, SIZE, 0))
    engine.accumulate(3, lambda: losses(example))
    expected = []
    for row in range(3):
        gradients = torch.autograd.grad(losses(example[row : row + 1]).sum(), list(model.parameters()))
        expected.append(sum(gradient.square().sum().item() for gradient in gradients))
    np.testing.assert_allclose(engine.sums().norms_squared, expected, rtol=1e-12)
