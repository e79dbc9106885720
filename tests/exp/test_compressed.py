"""Compressed weights by hand, against PyTorch's own fake quantisation and pruning (and torchao's where it is installed), and through the packed file."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from paced_exp.core.errors import UserError
from paced_exp.models.compressed.methods import Method, parse_method
from paced_exp.models.compressed.packed import compressible, packed, unpacked
from paced_exp.models.compressed.prune import largest, two_of_four
from paced_exp.models.compressed.quantise import dequantised, quantised
from tests.support.tiny_models import tiny_model

ALL = ("bf16", "int8", "int4", "2:4", "magnitude:0.5", "magnitude:0.3", "2:4+int8", "2:4+int4", "magnitude:0.7+int4", "magnitude:0.25+int8")


def test_quantisation_by_hand() -> None:
    """int4 in groups of two: the largest of a group stands at 7.5, clipped to 7 (or at -7.5, rounded to -8)."""
    codes, scale = quantised(torch.tensor([[7.5, 3.0, -1.5, 0.2], [0.0, 0.0, -15.0, 1.0]]), 4, 2)
    torch.testing.assert_close(scale, torch.tensor([[1.0, 0.2], [0.0, 2.0]]))
    assert codes.tolist() == [[7, 3, -8, 1], [0, 0, -8, 0]]
    torch.testing.assert_close(dequantised(codes, scale), torch.tensor([[7.0, 3.0, -1.6, 0.2], [0.0, 0.0, -16.0, 0.0]]))
    with pytest.raises(ValueError, match="group must divide the 4 weights"):
        quantised(torch.zeros(1, 4), 4, 3)


@pytest.mark.parametrize(("bits", "group"), [(8, None), (4, None), (8, 16)])
def test_quantisation_is_pytorchs(bits: int, group: int | None) -> None:
    weight = torch.randn(12, 32, generator=torch.Generator().manual_seed(bits))
    codes, scale = quantised(weight, bits, group)
    rows, axis = (weight, 0) if group is None else (weight.reshape(-1, group), 0)
    zero = torch.zeros(len(rows), dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(rows, scale.flatten(), zero, axis, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    # A group's largest weight lies half-way between two codes, where PyTorch's multiplication with 1/scale may round to the other.
    halves = ((rows / scale.flatten()[:, None]).abs() % 1 - 0.5).abs() < 1e-4
    assert float(halves.float().mean()) < 0.1
    torch.testing.assert_close(dequantised(codes, scale).reshape(rows.shape)[~halves], theirs[~halves])


@pytest.mark.parametrize("bits", [8, 4])
def test_quantisation_is_torchaos(bits: int) -> None:
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed; it is compared with, and never used")
    layer = nn.Sequential(nn.Linear(64, 6, bias=False))
    weight = layer[0].weight.detach().clone()
    granularity = quantization.PerAxis(0) if bits == 8 else quantization.PerGroup(32)
    quantization.quantize_(layer, quantization.IntxWeightOnlyConfig(weight_dtype=getattr(torch, f"int{bits}"), granularity=granularity))
    codes, scale = quantised(weight, bits, None if bits == 8 else 32)
    torch.testing.assert_close(dequantised(codes, scale), layer[0].weight.dequantize().detach())


@given(st.integers(2, 8), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_the_error_is_at_most_half_a_step_and_that_of_the_largest_positive_one(bits: int, seed: int) -> None:
    weight = torch.randn(5, 24, generator=torch.Generator().manual_seed(seed))
    codes, scale = quantised(weight, bits, 8)
    error = (dequantised(codes, scale) - weight).abs().reshape(5, 3, 8) / scale[..., None]
    assert float(error.max()) <= 0.5 + 1e-4


def test_pruning_by_hand_and_as_pytorch_does_it() -> None:
    weight = torch.tensor([[1.0, -4.0, 0.5, 3.0, -2.0, 2.5, 0.1, -0.2]])
    assert two_of_four(weight).tolist() == [[False, True, False, True, True, True, False, False]]
    assert largest(weight, 0.25).tolist() == [[True, True, True, True, True, True, False, False]]
    layer = nn.Linear(16, 12, bias=False)
    flags = largest(layer.weight, 0.4)
    torch_prune.l1_unstructured(layer, "weight", amount=0.4)
    torch.testing.assert_close(flags, layer.weight_mask.bool())
    random = torch.randn(6, 20)
    for row, kept in zip(random, two_of_four(random), strict=True):
        for start in range(0, 20, 4):
            four = row[start : start + 4].abs()
            assert kept[start : start + 4].sum() == 2 and four[kept[start : start + 4]].min() >= four[~kept[start : start + 4]].max()
    with pytest.raises(ValueError, match="multiple of 4"):
        two_of_four(torch.zeros(2, 6))


def dense(weight: torch.Tensor, method: Method) -> torch.Tensor:
    """The compressed matrix, without packing."""
    weight = weight.bfloat16().float()
    if method.prune is not None:
        weight = weight * (two_of_four(weight) if isinstance(method.prune, str) else largest(weight, method.prune))
    return weight if method.bits is None else dequantised(*quantised(weight, method.bits, 32 if method.bits == 4 else None))


@pytest.mark.parametrize("name", ALL)
def test_what_is_packed_is_what_is_unpacked(name: str) -> None:
    model = tiny_model("llama").get_submodule("model")  # 32 wide, 48 inside: rows of 32 and 48
    model.layers[0].mlp.down_proj = nn.Linear(96, 32, bias=False)
    method = parse_method(name)
    if method.bits == 4:
        for layer in model.layers[1:]:
            layer.mlp.down_proj = nn.Linear(96, 32, bias=False)  # 48 is no multiple of a group
    tensors = packed(model, method)
    shapes = {each: parameter.shape for each, parameter in model.named_parameters()}
    found = unpacked(tensors, shapes)
    chosen = compressible(model)
    assert found.keys() == shapes.keys() and len(chosen) == 2 * 7
    for each, parameter in model.named_parameters():
        expected = dense(parameter.detach(), method) if each in chosen else parameter.detach().bfloat16().float()
        torch.testing.assert_close(found[each], expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("bf16", 16),
        ("int8", 8 + 32 / 32),
        ("int4", 4 + 32 / 32),
        ("2:4", 16 / 2 + 1),
        ("magnitude:0.5", 16 / 2 + 1),
        ("2:4+int8", 4 + 1 + 32 / 32),
    ],
)
def test_bits_a_weight(name: str, bits: float) -> None:
    """Of a 64 x 32 matrix: values or codes, a float32 scale a row or a group of 32, and a bit a weight to say which stayed."""
    model = nn.Sequential(nn.Linear(32, 64, bias=False))
    assert 8 * sum(tensor.numel() * tensor.element_size() for tensor in packed(model, parse_method(name)).values()) == bits * 64 * 32


def test_embeddings_head_and_tied_weights_are_left_alone() -> None:
    model = tiny_model("qwen3")
    chosen = compressible(model)
    assert "model.embed_tokens.weight" not in chosen and not any("lm_head" in name or "norm" in name for name in chosen)
    assert len(chosen) == 2 * 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int3", "'int3' is not known; known: bf16"),
        ("int8+int4", "names two of one kind"),
        ("2:4+magnitude:0.5", "names two of one kind"),
        ("magnitude:1", "the share of 'magnitude:1' must be above 0 and below 1"),
        ("magnitude:x", "must be above 0"),
    ],
)
def test_methods_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_method(text)
    with pytest.raises(UserError, match=r"`methods` 2:4: layer 0.weight of shape \[3, 6\] does not suit it"):
        packed(nn.Sequential(nn.Linear(6, 3)), parse_method("2:4"))
