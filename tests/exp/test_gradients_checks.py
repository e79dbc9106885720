"""What the gradient engine leaves as it was, what it refuses, and what it holds in memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from bench.memory import peak_bytes
from paced_exp.core.errors import UserError
from paced_exp.gradients.engine import PerProblemGradients, Sketch
from tests.exp.test_gradients import INPUT
from tests.support.gradients import ALL, SIZE, losses_of, model_of

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
    torch.testing.assert_close(losses_of(model, None, ALL), losses_of(model_of("qwen3"), None, ALL))


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


def run(model: nn.Module, forward: Callable[[], torch.Tensor], rows: int = 3) -> None:
    PerProblemGradients(model).accumulate(rows, forward)


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


def test_a_name_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(UserError, match=r"`only` 'model.layers.9' is no parameter or module of the model.*'model.embed_tokens.weight'"):
        PerProblemGradients(model_of("qwen3"), only=["model.layers.9"])


def test_reentrant_checkpointing_is_refused() -> None:
    model = model_of("qwen3").train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    with pytest.raises(UserError, match="reentrant activation checkpointing"):
        run(model, partial(losses_of, model, None, ALL), rows=5)


# ---- rows that are joined have no gradient of their own


@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm_is_refused_by_name(affine: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, affine=affine))
    with pytest.raises(UserError, match="layer '1' is a BatchNorm1d, which joins the problems of a batch"):
        PerProblemGradients(model)


class Centred(nn.Module):
    """Batch norm in a class of its own and without parameters, so that nothing but its effect gives it away."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


class Shuffled(nn.Module):
    """A linear layer that sees the rows in another order, as an expert that happens to be sent as many tokens as there are problems."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.roll(1, 0)).roll(-1, 0)


@pytest.mark.parametrize("layer", [Centred, Shuffled])
def test_a_model_that_mixes_rows_is_refused(layer: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(4, 4), layer())
    with pytest.raises(UserError, match=r"the gradient of row \d of a batch changes with the losses of other rows"):
        run(model, lambda: model(INPUT).square().sum((1, 2)))


def test_a_balancing_term_over_the_batch_is_refused_also_after_a_first_batch_of_one() -> None:
    model = nn.Linear(4, 4)

    def losses(rows: int) -> torch.Tensor:
        own = model(INPUT[:rows]).square().sum((1, 2))
        return own + 0.01 * own.mean()

    engine = PerProblemGradients(model)
    engine.accumulate(1, lambda: losses(1))  # one row is not joined with another
    with pytest.raises(UserError, match=r"the gradient of row \d of a batch changes with the losses of other rows"):
        engine.accumulate(3, lambda: losses(3))


def test_rows_that_differ_by_orders_of_magnitude_pass() -> None:
    model = nn.Linear(4, 4)
    sizes = torch.tensor([1e-6, 1.0, 1e5])
    engine = PerProblemGradients(model)
    engine.accumulate(3, lambda: model(INPUT).square().sum((1, 2)) * sizes)
    norms = engine.sums().norms_squared
    assert norms.max() > 1e15 * norms.min()


# ---- memory


def step(model: Any) -> None:
    model.zero_grad(set_to_none=True)
    losses_of(model, None, ALL).sum().backward()


def with_parameters(model: Any, function: Callable[[], object]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()) + peak_bytes(function)


@pytest.mark.parametrize("sketch", [False, True])
@pytest.mark.parametrize("kind", ["qwen3", "gpt2"])
def test_memory_is_at_most_twice_a_plain_step_and_constant_in_the_number_of_problems(kind: str, sketch: bool) -> None:
    model = model_of(kind)
    step(model)
    plain = with_parameters(model, partial(step, model))
    model.zero_grad(set_to_none=True)
    projection = Sketch(model, SIZE, 0) if sketch else None

    def batches(number: int) -> None:
        engine = PerProblemGradients(model, projection)
        for _ in range(number):
            engine.accumulate(5, partial(losses_of, model, None, ALL))

    few, many = with_parameters(model, partial(batches, 2)), with_parameters(model, partial(batches, 12))
    assert few < 2 * plain
    kept = 10 * 5 * 8 * (1 + (SIZE if sketch else 0))  # the results themselves: a norm, and a sketch in this model's float64, a problem
    assert many <= few + kept + 4096
