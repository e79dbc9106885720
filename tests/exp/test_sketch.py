"""The count sketch: inner products without bias, their variance as theory has it, the same map for the same seed."""

import numpy as np
import pytest
import torch
from torch import nn

from paced_exp.errors import UserError
from paced_exp.gradients import Sketch

SEEDS = 3000


def sketches(model: nn.Module, vectors: torch.Tensor, size: int, seed: int) -> torch.Tensor:
    sketch, out, start = Sketch(model, size, seed), torch.zeros(len(vectors), size, dtype=vectors.dtype), 0
    for parameter in model.parameters():
        sketch.add(out, parameter, vectors[:, start : start + parameter.numel()])
        start += parameter.numel()
    return out


@pytest.mark.parametrize("size", [1, 5, 40])
def test_inner_products_are_unbiased_with_the_stated_variance(size: int) -> None:
    model = nn.Linear(9, 3)  # 27 weights and 3 biases
    x, y = torch.randn(2, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    products = np.array([float(a @ b) for a, b in (sketches(model, torch.stack([x, y]), size, seed) for seed in range(SEEDS))])
    exact = float(x @ y)
    variance = float((x @ x) * (y @ y) + exact**2 - 2 * (x**2 * y**2).sum()) / size
    assert abs(products.mean() - exact) < 4 * np.sqrt(variance / SEEDS)
    assert products.var() == pytest.approx(variance, rel=0.15)
    assert variance <= float((x @ x) * (y @ y) + exact**2) / size, "the bound that the docstring gives"


def test_norms_are_unbiased() -> None:
    model = nn.Linear(9, 3)
    x = torch.randn(1, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    norms = np.array([float(sketches(model, x, 8, seed).square().sum()) for seed in range(SEEDS)])
    assert norms.mean() == pytest.approx(float(x.square().sum()), abs=4 * norms.std() / np.sqrt(SEEDS))


def test_the_map_is_linear_and_a_function_of_the_seed() -> None:
    model = nn.Sequential(nn.Linear(9, 3), nn.Linear(3, 2))
    vectors = torch.randn(2, 38, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    one = sketches(model, vectors, 16, 7)
    torch.testing.assert_close(sketches(model, vectors.sum(0, keepdim=True), 16, 7)[0], one.sum(0))
    assert torch.equal(sketches(nn.Sequential(nn.Linear(9, 3), nn.Linear(3, 2)), vectors, 16, 7), one)
    assert not torch.equal(sketches(model, vectors, 16, 8), one)


def test_every_coordinate_lands_in_one_bucket_with_sign_one() -> None:
    model = nn.Linear(9, 3, bias=False)
    units = sketches(model, torch.eye(27, dtype=torch.float64), 6, 0)
    assert ((units != 0).sum(1) == 1).all() and (units.abs().sum(1) == 1).all()
    assert {-1.0, 1.0} == set(units[units != 0].tolist()) and (units != 0).any(0).all()


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="sketch size 0 must be at least 1"):
        Sketch(nn.Linear(2, 2), 0, 0)
