"""A key-value cache with room for a whole response, so that a decoding step only writes one column.

transformers' `DynamicLayer` concatenates instead: each step copies all keys and values, which takes most of a small model's time.
"""

from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, LinearAttentionCacheLayerMixin

from paced_exp.core.errors import UserError


class PreallocatedLayer(DynamicLayer):
    """Keys and values of one full-attention layer, in buffers of shape (rows, heads, capacity, width).

    `keys` and `values` are views of the rows and columns in use. At first these are the rows of a filled `layer`.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, layer: Any, rows: int, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device, self.is_initialized = layer.keys.dtype, layer.keys.device, True
        self._length = layer.keys.shape[2]
        self._key_buffer = _with_room(layer.keys, rows, capacity)
        self._value_buffer = _with_room(layer.values, rows, capacity)
        self._show(len(layer.keys))

    def _show(self, rows: int) -> None:
        self.keys = self._key_buffer[:rows, :, : self._length]
        self.values = self._value_buffer[:rows, :, : self._length]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new columns (rows, heads, new, width) and return all keys and values so far."""
        rows, start = len(self.keys), self._length
        self._length = start + key_states.shape[2]
        self._key_buffer[:rows, :, start : self._length] = key_states
        self._value_buffer[:rows, :, start : self._length] = value_states
        self._show(rows)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Make row indices[i] row i. Only rows that move are copied (`branches.Move`)."""
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero()[:, 0]
        keys, values = self.keys[indices[moved]], self.values[indices[moved]]
        self._show(len(indices))
        self.keys[moved] = keys
        self.values[moved] = values


def _with_room(states: torch.Tensor, rows: int, capacity: int) -> torch.Tensor:
    filled, heads, length, width = states.shape
    buffer = states.new_empty(rows, heads, capacity, width)
    buffer[:filled, :, :length] = states
    return buffer


def new_cache(config: PreTrainedConfig) -> Cache:
    """An empty cache for a prefill. Raises `UserError` for layers that have a recurrent state in place of keys and values."""
    cache = DynamicCache(config=config)
    if any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers):
        raise UserError(
            f"model type {config.model_type!r} has linear-attention layers, which the hf engine cannot batch; "
            "take a model with attention layers only"
        )
    return cache


def expand(cache: Cache, rows: int, capacity: int) -> None:
    """Make room for `rows` rows of `capacity` columns in the full-attention layers of a prefilled cache.

    Other layers (sliding window) keep transformers' class, which is correct and copies more.
    """
    layers: list[Any] = cache.layers
    for index, layer in enumerate(layers):
        if type(layer) is DynamicLayer:
            layers[index] = PreallocatedLayer(layer, rows, capacity)


def bytes_per_token(cache: Cache, tokens: int) -> int:
    """Bytes of keys and values for one token, over all layers, measured in a cache that holds `tokens` tokens."""
    layers: list[Any] = cache.layers
    return int(sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)) // tokens
