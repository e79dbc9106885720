"""The file that holds a compressed model, packed, and the same weights unpacked, for any loader.

The matrices of linear layers inside the blocks are compressed; embeddings, head and norms stay in bfloat16. In the file, pruned weights leave
only the others, with a bit a weight (magnitude) or two bits a kept weight (2:4); codes of 4 bits lie two in a byte.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from paced_exp.core.errors import UserError
from paced_exp.models.compressed.methods import Method
from paced_exp.models.compressed.prune import largest, two_of_four
from paced_exp.models.compressed.quantise import dequantised, quantised

GROUP = 32  # weights that share a scale in int4; in int8, a row does


def packed(model: nn.Module, method: Method) -> dict[str, torch.Tensor]:
    """The tensors of the file, by the parameter's name and what they are of it. Tied parameters are there once.

    Raises `UserError` for a layer whose rows do not suit the method.
    """
    chosen = compressible(model)
    found: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        weight = parameter.detach().cpu()
        if name not in chosen:
            found[name] = weight.bfloat16()
            continue
        try:
            parts = _pack(weight.bfloat16().float(), method)
        except ValueError as error:
            raise UserError(f"`methods` {method.name}: layer {name} of shape {list(weight.shape)} does not suit it ({error})") from error
        found |= {f"{name}.{part}": tensor for part, tensor in parts.items()}
    return found


def compressible(model: nn.Module) -> set[str]:
    """Names of the weights of linear layers, without the head and without those that share a parameter with an embedding."""
    embedded = {id(parameter) for layer in model.modules() if isinstance(layer, nn.Embedding) for parameter in layer.parameters()}
    output: Any = getattr(model, "get_output_embeddings", None)
    head = None if output is None else output()
    linear = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Linear) and layer is not head}
    return {name for name, parameter in model.named_parameters() if id(parameter) in linear - embedded}


def unpacked(tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """The weights, float32, by parameter name. shapes: of every parameter."""
    return {
        name: tensors[name].float()
        if name in tensors
        else _unpack({p: tensors[f"{name}.{p}"] for p in _PARTS if f"{name}.{p}" in tensors}, shape)
        for name, shape in shapes.items()
    }


_PARTS = ("values", "codes", "nibbles", "scale", "bits", "places")


def _pack(weight: torch.Tensor, method: Method) -> dict[str, torch.Tensor]:
    kept = None
    parts: dict[str, torch.Tensor] = {}
    if method.prune is not None:
        kept = two_of_four(weight) if isinstance(method.prune, str) else largest(weight, method.prune)
        weight = weight * kept
        parts |= {"places": _places(kept)} if isinstance(method.prune, str) else {"bits": _bits(kept)}
    if method.bits is None:
        values = weight.bfloat16()
        return parts | {"values": values if kept is None else values[kept]}
    codes, scale = quantised(weight, method.bits, GROUP if method.bits == 4 else None)
    left = codes.flatten() if kept is None else codes[kept]
    return parts | {"scale": scale} | ({"nibbles": _nibbles(left)} if method.bits == 4 else {"codes": left})


def _unpack(parts: Mapping[str, torch.Tensor], shape: torch.Size) -> torch.Tensor:
    kept = None
    if "places" in parts:
        kept = _from_places(parts["places"], shape)
    elif "bits" in parts:
        kept = _from_bits(parts["bits"], shape)
    count = int(kept.sum()) if kept is not None else shape.numel()
    if "values" in parts:
        left = parts["values"].float().flatten()
    else:
        left = parts["codes"] if "codes" in parts else _from_nibbles(parts["nibbles"], count)
    whole = left.reshape(shape) if kept is None else torch.zeros(shape, dtype=left.dtype).masked_scatter(kept, left)
    return dequantised(whole, parts["scale"]) if "scale" in parts else whole


def _bits(flags: torch.Tensor) -> torch.Tensor:
    """Eight flags a byte, the first one lowest."""
    flat = flags.flatten().to(torch.uint8)
    padded = nn.functional.pad(flat, (0, -len(flat) % 8)).reshape(-1, 8)
    return (padded << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def _from_bits(packed_bits: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    flags = (packed_bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return flags.flatten()[: shape.numel()].reshape(shape).bool()


def _places(kept: torch.Tensor) -> torch.Tensor:
    """Two bits for each of the two kept weights of every four, two fours a byte."""
    fours = kept.reshape(-1, 4).to(torch.uint8)
    places = fours.argsort(dim=1, descending=True, stable=True)[:, :2].to(torch.uint8)
    half = places[:, 0] | (places[:, 1] << 2)
    half = nn.functional.pad(half, (0, len(half) % 2)).reshape(-1, 2)
    return half[:, 0] | (half[:, 1] << 4)


def _from_places(bytes_: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    half = torch.stack([bytes_ & 15, bytes_ >> 4], dim=1).flatten()[: shape.numel() // 4]
    flags = torch.zeros(len(half), 4, dtype=torch.bool)
    flags.scatter_(1, torch.stack([half & 3, half >> 2], dim=1).long(), True)
    return flags.reshape(shape)


def _nibbles(codes: torch.Tensor) -> torch.Tensor:
    low = nn.functional.pad(codes.to(torch.int16) & 15, (0, len(codes) % 2)).to(torch.uint8).reshape(-1, 2)
    return low[:, 0] | (low[:, 1] << 4)


def _from_nibbles(bytes_: torch.Tensor, count: int) -> torch.Tensor:
    flat = torch.stack([bytes_ & 15, bytes_ >> 4], dim=1).flatten()[:count].to(torch.int8)
    return torch.where(flat > 7, flat - 16, flat)
