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

    `keys` and `values` are views of the rows and columns in use. At first these are the rows of a filled `layer`, each repeated `repeats` times:
    the K samples of a prompt share its prefill.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, layer: Any, repeats: int, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device, self.is_initialized = layer.keys.dtype, layer.keys.device, True
        self._length = layer.keys.shape[2]
        self._key_buffer = _repeated(layer.keys, repeats, capacity)
        self._value_buffer = _repeated(layer.values, repeats, capacity)
        self._show(len(self._key_buffer))

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
        """Keep row indices[i] as row i. Only rows that move are copied (`compact`)."""
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero()[:, 0]
        self.keys[moved] = self.keys[indices[moved]]
        self.values[moved] = self.values[indices[moved]]
        self._show(len(indices))


def _repeated(states: torch.Tensor, repeats: int, capacity: int) -> torch.Tensor:
    rows, heads, length, width = states.shape
    buffer = states.new_empty(rows, repeats, heads, capacity, width)
    buffer[:, :, :, :length] = states[:, None]
    return buffer.view(rows * repeats, heads, capacity, width)


def new_cache(config: PreTrainedConfig) -> Cache:
    """An empty cache for a prefill. Raises `UserError` for layers that have a recurrent state in place of keys and values."""
    cache = DynamicCache(config=config)
    if any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers):
        raise UserError(
            f"model type {config.model_type!r} has linear-attention layers, which the hf engine cannot batch; "
            "take a model with attention layers only"
        )
    return cache


def expand(cache: Cache, repeats: int, capacity: int) -> None:
    """Repeat every row of a prefilled cache `repeats` times, and make room for `capacity` columns in full-attention layers.

    Other layers (sliding window) keep transformers' class, which is correct and copies more.
    """
    layers: list[Any] = cache.layers
    for index, layer in enumerate(layers):
        if type(layer) is DynamicLayer:
            layers[index] = PreallocatedLayer(layer, repeats, capacity)
        else:
            layer.batch_repeat_interleave(repeats)


def compact(live: torch.Tensor) -> torch.Tensor:
    """Row indices that close the gaps of finished rows. Rows from the end fill the gaps, so each gap moves one row only.

    live: (rows,) bool. Returns (live rows,) int64: for each new row, the old row that it takes.

    >>> compact(torch.tensor([True, False, True, False, True])).tolist()
    [0, 4, 2]
    """
    count = int(live.sum())
    indices = torch.arange(count, device=live.device)
    gaps = ~live[:count]
    indices[gaps] = live[count:].nonzero()[:, 0] + count
    return indices


def bytes_per_token(cache: Cache, tokens: int) -> int:
    """Bytes of keys and values for one token, over all layers, measured in a cache that holds `tokens` tokens."""
    layers: list[Any] = cache.layers
    return int(sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)) // tokens
