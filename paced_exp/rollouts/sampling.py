"""Sampling by inverse CDF. Each rollout has its own counter-based random stream, so it does not depend on the rest of the batch."""

from collections.abc import Sequence

import numpy as np
import torch

from paced_exp.core.errors import UserError

_CELLS = 1 << 24  # float64 cells of one block of the CDF: 128 MiB


class UniformStreams:
    """A stream of uniform numbers in [0, 1) for each seed: Philox4x64 keyed by the seed (Salmon et al., SC 2011).

    A number is the 53 high bits of a raw 64-bit word. numpy keeps the raw output of its bit generators the same in all versions, but not the
    numbers of `Generator`.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [np.random.Philox(key=seed) for seed in seeds]

    def draw(self, rows: Sequence[int], count: int) -> np.ndarray:
        """The next `count` numbers of the streams in `rows`: float64 (streams, count). The rows of other streams are zero."""
        words = np.zeros((len(self._generators), count), dtype=np.uint64)
        for row in rows:
            words[row] = self._generators[row].random_raw(count)
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def sample_tokens(logits: torch.Tensor, uniforms: torch.Tensor | None, temperature: float) -> torch.Tensor:
    """For each row and uniform number, the first token id whose cumulative probability under softmax(logits / temperature) exceeds it.

    logits: (rows, vocabulary). uniforms: (rows,) or (rows, draws) float64 in [0, 1). Returns int64 of their shape; for None (temperature 0)
    the id of the largest logit, (rows,). The CDF is summed in float64, in the order of the ids. Raises `UserError` if logits are NaN or infinite.
    """
    if uniforms is None:
        best, tokens = logits.max(dim=-1)
        _check_finite(best)
        return tokens
    if uniforms.ndim == 1:
        return sample_tokens(logits, uniforms[:, None], temperature)[:, 0]
    rows = max(1, _CELLS // logits.shape[1])
    if len(logits) > rows:
        parts = zip(logits.split(rows), uniforms.split(rows), strict=True)
        return torch.cat([sample_tokens(part, numbers, temperature) for part, numbers in parts])
    cells = logits.to(
        torch.float64, copy=True
    )  # and all that follows in place: with a large vocabulary new memory costs more than the sums
    # The largest logit is subtracted before the division, so that very low temperatures give -inf and never NaN.
    cells.sub_(cells.amax(dim=-1, keepdim=True)).div_(temperature).exp_().cumsum_(dim=-1)
    total = cells[:, -1:]
    _check_finite(total)
    # Since u * total < total and the search is strict, the token has positive probability.
    return torch.searchsorted(cells, uniforms * total, right=True)


def _check_finite(values: torch.Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise UserError("the model's logits are not finite; its weights are damaged or `dtype` is too narrow for it (try `dtype` float32)")
