"""Inner products with given directions and norms in a metric: against a loop of single backward passes and forward-mode differentiation."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paced_exp.gradients import fold
from paced_exp.gradients.engine import PerProblemGradients
from paced_exp.gradients.inner import InnerProducts
from tests.support.gradients import ALL, KINDS, jvp_inner_products, losses_of, model_of, single_gradients
from tests.support.tiny_models import tiny_model

J = 3


def directions_of(model: nn.Module, seed: int = 3) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {name: torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype) for name, p in model.named_parameters()}
        for _ in range(J)
    ]


def metric_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Diagonals over four orders of magnitude, as Adam's are."""
    generator = torch.Generator().manual_seed(4)
    return {
        name: 10 ** (4 * torch.rand(p.shape, generator=generator, dtype=torch.float64)).to(p.dtype) for name, p in model.named_parameters()
    }


def stacked(directions: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([direction[name] for direction in directions]) for name in directions[0]}


def flat(values: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.double().flatten() for tensor in values.values()])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_a_loop_over_problems(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    model, teacher = model_of(kind, dtype), tiny_model("qwen3", seed=1, dtype=dtype)
    directions, metric, singles = directions_of(model), metric_of(model), single_gradients(model, teacher)
    engine = PerProblemGradients(model, InnerProducts(model, stacked(directions), metric), metric=metric)
    for rows in ([0, 1], [2, 3, 4]):
        engine.accumulate(len(rows), partial(losses_of, model, teacher, rows))
    sums = engine.sums()
    rows_of = torch.stack([flat(direction) for direction in directions])
    expected = torch.cat([singles @ rows_of.T, singles @ (rows_of * flat(metric)).T], 1).numpy()
    assert sums.sketches.shape == (5, 2 * J) and sums.sketches.dtype == np.float64
    for half in (slice(J), slice(J, None)):  # the metric's numbers are thousands of times as large
        np.testing.assert_allclose(sums.sketches[:, half], expected[:, half], rtol=0, atol=tolerance * np.abs(expected[:, half]).max())
    np.testing.assert_allclose(sums.norms_squared, (singles.square() @ flat(metric)).numpy(), rtol=tolerance)
    assert sums.sum_norm_squared == pytest.approx(float(singles.sum(0).square() @ flat(metric)), rel=tolerance)


# GPT-2 looks for padding with .item(), which functorch does not allow.
@pytest.mark.parametrize("kind", ["qwen3", "qwen3-untied", "llama"])
def test_agrees_with_forward_mode_differentiation(kind: str) -> None:
    model, teacher = model_of(kind), tiny_model("qwen3", seed=1, dtype=torch.float64)
    directions, rows = directions_of(model), [0, 1, 2, 4]  # without the padding token: torch does not train its row, but can move along it
    engine = PerProblemGradients(model, InnerProducts(model, stacked(directions)))
    engine.accumulate(4, partial(losses_of, model, teacher, rows))
    forward = [jvp_inner_products(model, lambda called: losses_of(called, teacher, rows), direction) for direction in directions]
    np.testing.assert_allclose(engine.sums().sketches, torch.stack(forward, 1).numpy(), rtol=1e-5, atol=1e-5)  # RMSNorm is float32


def test_a_metric_of_ones_changes_nothing_and_a_direction_of_the_gradient_gives_the_norm() -> None:
    model = model_of("qwen3")
    singles = single_gradients(model, None)
    sizes = [parameter.numel() for parameter in model.parameters()]
    own = [
        {name: part.view(p.shape) for (name, p), part in zip(model.named_parameters(), gradient.split(sizes), strict=True)}
        for gradient in singles
    ]
    ones = {name: torch.ones_like(parameter) for name, parameter in model.named_parameters()}
    engine = PerProblemGradients(model, InnerProducts(model, stacked(own), ones), metric=ones)
    engine.accumulate(5, partial(losses_of, model, None, ALL))
    sums = engine.sums()
    np.testing.assert_allclose(sums.sketches.diagonal(), sums.norms_squared, rtol=1e-9)
    np.testing.assert_allclose(sums.sketches[:, len(own) :], sums.sketches[:, : len(own)], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sums.norms_squared, singles.square().sum(1).numpy(), rtol=1e-10)


def test_directions_and_metric_are_not_copied() -> None:
    """They are the most that a probe against accuracy holds: eight times the model."""
    model = model_of("qwen3")
    directions, metric = stacked(directions_of(model)), metric_of(model)
    inner = InnerProducts(model, directions, metric)
    assert inner._metric is not None
    for name, parameter in model.named_parameters():
        assert inner._rows[id(parameter)].data_ptr() == directions[name].data_ptr()
        assert inner._metric[id(parameter)].data_ptr() == metric[name].data_ptr()


def test_of_some_parameters_alone() -> None:
    model, only = model_of("qwen3"), ["model.layers.1", "lm_head"]
    chosen = [name for name, _ in model.named_parameters() if "layers.1" in name or "embed" in name]  # the head is tied
    directions = [{name: direction[name] for name in chosen} for direction in directions_of(model)]
    metric = {name: values for name, values in metric_of(model).items() if name in chosen}
    engine = PerProblemGradients(model, InnerProducts(model, stacked(directions), metric), only, metric)
    engine.accumulate(5, partial(losses_of, model, None, ALL))
    parameters = [parameter for name, parameter in model.named_parameters() if name in chosen]
    rows = [torch.autograd.grad(losses_of(model, None, [row]).sum(), parameters) for row in ALL]
    singles = torch.stack([torch.cat([gradient.flatten() for gradient in row]) for row in rows])
    found = engine.sums().sketches
    np.testing.assert_allclose(found[:, 0], (singles @ flat(directions[0])).numpy(), rtol=1e-9)
    np.testing.assert_allclose(found[:, J], (singles @ (flat(directions[0]) * flat(metric))).numpy(), rtol=1e-9)
    np.testing.assert_allclose(engine.sums().norms_squared, (singles.square() @ flat(metric)).numpy(), rtol=1e-9)


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.booleans(), st.integers(0, 2**31))
def test_a_tied_head_and_embedding_of_any_shape(batch: int, length: int, vocabulary: int, width: int, head_first: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = nn.Embedding(vocabulary, width).double()

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    left, right, values = normal(batch, length + 1, vocabulary), normal(batch, length + 1, width), normal(batch, length, width)
    tokens = torch.randint(vocabulary, (batch, length), generator=generator)
    dense = torch.einsum("btv,btw->bvw", left, right)
    for row in range(batch):
        for position in range(length):
            dense[row, tokens[row, position]] += values[row, position]
    key, metric, directions = id(table.weight), normal(vocabulary, width).exp(), [normal(vocabulary, width) for _ in range(J)]
    inner = InnerProducts(table, {"weight": torch.stack(directions)}, {"weight": metric})
    totals = {key: torch.zeros(vocabulary, width, dtype=torch.float64)}
    folded = fold.Fold(batch, {key: fold.Uses(outer=1, rows=[tokens])}, totals, inner, {key: metric})
    parts = [fold.Outer(left, right), fold.Rows(tokens, values)]
    for part in parts if head_first else reversed(parts):
        folded.receive(table.weight, 0, part)
    torch.testing.assert_close(folded.norms_squared, (dense.square() * metric).sum((1, 2)), rtol=1e-10, atol=1e-12)
    expected = torch.stack([(dense * weight * direction).sum((1, 2)) for weight in (1, metric) for direction in directions], 1)
    torch.testing.assert_close(folded.sketches(), expected, rtol=1e-10, atol=1e-11)
