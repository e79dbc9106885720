"""The count sketch: inner products without bias, their variance as theory has it, the same map for the same seed."""

import numpy as np
import pytest
import torch
from torch import nn

from paced_exp.core.errors import UserError
from paced_exp.gradients.engine import Sketch

SEEDS = 1000


def sketches(model: nn.Module, vectors: torch.Tensor, size: int, seed: int) -> torch.Tensor:
    """Sketches (n, size) of vectors (n, all parameters)."""
    sketch, start = Sketch(model, size, seed), 0
    buffer = sketch.buffer(len(vectors), vectors.dtype, vectors.device)
    for parameter in model.parameters():
        sketch.add(buffer, parameter, vectors[:, start : start + parameter.numel()])
        start += parameter.numel()
    return sketch.result(buffer)


def blocks_of(model: nn.Module, size: int) -> np.ndarray:
    """The block of every coordinate: at most `size` neighbours of one parameter."""
    blocks: list[int] = []
    for parameter in model.parameters():
        first = blocks[-1] + 1 if blocks else 0
        blocks += [first + coordinate // size for coordinate in range(parameter.numel())]
    return np.array(blocks)


@pytest.mark.parametrize("size", [3, 8, 40])
def test_inner_products_are_unbiased_with_the_variance_of_theory(size: int) -> None:
    model = nn.Linear(9, 3)  # 27 weights and 3 biases
    x, y = torch.randn(2, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    products = np.array([float(a @ b) for a, b in (sketches(model, torch.stack([x, y]), size, seed) for seed in range(SEEDS))])
    exact = float(x @ y)
    # Coordinates k != l of different blocks share a bucket with probability 1/size, and then add x_k y_l s_k s_l with random signs.
    blocks, a, b = blocks_of(model, size), x.numpy(), y.numpy()
    apart = blocks[:, None] != blocks[None, :]
    variance = float((apart * (np.outer(a**2, b**2) + np.outer(a * b, a * b))).sum()) / size
    assert abs(products.mean() - exact) < 4 * np.sqrt(variance / SEEDS)
    assert products.var() == pytest.approx(variance, rel=0.3)
    assert variance <= float((x @ x) * (y @ y) + exact**2) / size, "the bound that the docstring gives"


def test_no_common_direction_fools_it_where_coordinates_repeat() -> None:
    # Equal rows of a matrix are the worst case of sketches with signs that factor over rows and columns.
    model = nn.Linear(8, 8, bias=False)
    x = torch.ones(1, 64, dtype=torch.float64)
    norms = np.array([float(sketches(model, x, 8, seed).square().sum()) for seed in range(SEEDS)])
    apart = blocks_of(model, 8)[:, None] != blocks_of(model, 8)[None, :]
    assert norms.mean() == pytest.approx(64, abs=4 * norms.std() / np.sqrt(SEEDS))
    assert norms.var() == pytest.approx(2 * apart.sum() / 8, rel=0.3)


def test_the_map_is_linear_and_a_function_of_the_seed() -> None:
    model = nn.Sequential(nn.Linear(9, 3), nn.Linear(3, 2))
    vectors = torch.randn(2, 38, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    one = sketches(model, vectors, 16, 7)
    torch.testing.assert_close(sketches(model, vectors.sum(0, keepdim=True), 16, 7)[0], one.sum(0))
    assert torch.equal(sketches(nn.Sequential(nn.Linear(9, 3), nn.Linear(3, 2)), vectors, 16, 7), one)
    assert not torch.equal(sketches(model, vectors, 16, 8), one)


def test_every_coordinate_lands_in_one_bucket_with_sign_one_and_blocks_never_meet() -> None:
    model = nn.Linear(9, 3, bias=False)
    units = sketches(model, torch.eye(27, dtype=torch.float64), 6, 0)
    assert ((units != 0).sum(1) == 1).all() and (units.abs().sum(1) == 1).all()
    assert {-1.0, 1.0} == set(units[units != 0].tolist()) and (units != 0).any(0).all()
    buckets = units.abs().argmax(1)
    for block in range(5):
        assert len(set(buckets[block * 6 : block * 6 + 6].tolist())) == len(buckets[block * 6 : block * 6 + 6])


@pytest.mark.parametrize("size", [4, 7, 64])
def test_rows_alone_give_the_sketch_of_the_matrix_that_holds_them(size: int) -> None:
    table = nn.Embedding(10, 6)
    problems, rows = torch.tensor([0, 0, 2]), torch.tensor([3, 9, 3])
    values = torch.randn(3, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    dense = torch.zeros(3, 10, 6, dtype=torch.float64)
    dense[problems, rows] = values
    sketch = Sketch(table, size, 1)
    buffer = sketch.buffer(3, torch.float64, torch.device("cpu"))
    sketch.add_rows(buffer, table.weight, problems, rows, values)
    torch.testing.assert_close(sketch.result(buffer), sketches(table, dense.flatten(1), size, 1))


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="sketch size 0 must be at least 1"):
        Sketch(nn.Linear(2, 2), 0, 0)
