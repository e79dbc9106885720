"""Rollouts on a transformers model: batched decoding with a key-value cache, on a CPU or one GPU.

Prompts are sorted by length and cut into chunks by a budget of tokens. A chunk is padded on the left. One row serves all rollouts of a prompt
that have drawn the same tokens so far (`branches`), and rows without rollouts leave the batch. How many rows a chunk will need is guessed from the
chunks before; if a guess was too low, its last prompts are rolled out again. Each rollout draws from its own random stream, so the grouping of
prompts only changes results through floating-point rounding of the logits. That changes a token only if its uniform number lies within rounding
of a step of the CDF.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache

from paced_exp.core.errors import UserError
from paced_exp.models.head_input import head_input
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts import kv_cache
from paced_exp.rollouts.branches import Branches
from paced_exp.rollouts.engine import Prompt, Rollout, Sampling, Watch, check_request, rollout_seed
from paced_exp.rollouts.sampling import UniformStreams, sample_tokens

# The share of the machine's memory for keys and values. It is a share of the total and not of the free memory, so that the same machine always
# makes the same chunks.
_GPU_SHARE = 0.4
_CPU_SHARE = 1 / 16
_CPU_BYTES = 256 << 20  # about 400 rows of a lab model; more memory was not faster (measured up to 1 GiB)
# A step reads all weights whatever the rows are, so a larger model needs more of them: SmolLM2-135M in bfloat16 sampled 487 tokens a second with 80 rows
# (256 MiB), and 743 with four times as many.
_CPU_WEIGHTS = 4  # keys and values may take so many times the bytes of the weights
_FIRST_SHARE = 1 / 4  # of a first prompt's samples that are taken to need rows of their own at once
_MARGIN = 1.2  # over the rows that prompts needed so far
_BLOCK = 64  # decoding steps for which uniforms are drawn at once


class HFEngine:
    """The default engine.

    loaded: the model. max_batch_tokens: the largest rows x (prompt + max_new_tokens) decoded at once, which bounds memory. Its default fits
    into 40 % of a GPU's memory, or on a CPU into a sixteenth of the machine's memory, at most 256 MiB or four times the weights, whichever is
    more.
    """

    start_seconds = 0.0

    def __init__(self, loaded: LoadedModel, *, max_batch_tokens: int | None = None) -> None:
        if max_batch_tokens is not None and max_batch_tokens < 1:
            raise UserError(f"`max_batch_tokens` {max_batch_tokens} must be at least 1; leave it out for a default that fits the memory")
        self._loaded = loaded
        self._model = loaded.model
        self._device = loaded.device
        self._eos = torch.tensor(loaded.eos_ids, device=self._device)
        self._context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
        self.max_batch_tokens = self._fitting_tokens() if max_batch_tokens is None else max_batch_tokens

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, *, watch: Watch | None = None) -> Iterator[list[Rollout]]:
        """See `RolloutEngine.generate`. Also raises `UserError` if a single rollout exceeds `max_batch_tokens`."""
        vocabulary = self._model.get_input_embeddings().num_embeddings
        check_request(prompts, sampling, context=self._context, vocabulary=vocabulary)
        needed = max((len(prompt.token_ids) for prompt in prompts), default=0) + sampling.max_new_tokens
        if prompts and needed > self.max_batch_tokens:
            raise UserError(
                f"one rollout needs {needed} tokens (prompt and `max_new_tokens` {sampling.max_new_tokens}), over `max_batch_tokens` "
                f"{self.max_batch_tokens}; raise that if the memory allows, or lower `max_new_tokens`"
            )
        return self._generate(prompts, sampling, watch or (lambda *_: None))

    def _generate(self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch) -> Iterator[list[Rollout]]:
        # Longest first: too little memory is noticed at once, and a chunk's first prompt is its longest.
        ordered = sorted(prompts, key=lambda prompt: (-len(prompt.token_ids), prompt.problem_id))
        rows_each = max(1.0, _FIRST_SHARE * sampling.samples)  # rows that a prompt will need, on average: a guess, and later what was seen
        seen = 1.0
        while ordered:
            rows = self.max_batch_tokens // (len(ordered[0].token_ids) + sampling.max_new_tokens)
            if rows < sampling.samples:  # the samples of a prompt are decoded in several passes
                prompt = ordered.pop(0)
                yield [
                    rollout
                    for part in _split(sampling.numbers, rows)
                    for rollout in self._decode([prompt], part, rows, sampling, watch)[0][0] or ()
                ]
                continue
            count = max(1, int(rows / rows_each))
            chunk, ordered = ordered[:count], ordered[count:]
            made, peak = self._decode(chunk, sampling.numbers, rows, sampling, watch)
            seen = max(seen, peak)
            rows_each = _MARGIN * seen
            ordered = [prompt for prompt, group in zip(chunk, made, strict=True) if group is None] + ordered
            yield from (group for group in made if group is not None)

    def _decode(
        self, prompts: list[Prompt], samples: range, rows: int, sampling: Sampling, watch: Watch
    ) -> tuple[list[list[Rollout] | None], float]:
        """Rollouts `samples` of each prompt, in one batch of at most `rows` rows; None for those that were parked (`Branches`).

        Also returns the largest number of rows that the batch needed for a prompt, on average.
        """
        seeds = [[rollout_seed(sampling.seed, prompt.problem_id, sample) for sample in samples] for prompt in prompts]
        streams = None if sampling.temperature == 0 else UniformStreams([number for group in seeds for number in group])
        try:
            branches = self._responses([prompt.token_ids for prompt in prompts], len(samples), rows, streams, sampling, watch)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{self._device} is out of memory with `max_batch_tokens` {self.max_batch_tokens}; give half of that, finished work is kept"
            ) from error
        eos = set(self._loaded.eos_ids)
        made = [
            None
            if responses is None
            else [
                Rollout(prompt.problem_id, sample, ids, ids[-1] in eos, number)
                for sample, ids, number in zip(samples, responses, numbers, strict=True)
            ]
            for prompt, responses, numbers in zip(prompts, branches.responses(), seeds, strict=True)
        ]
        return made, branches.peak

    @torch.inference_mode()
    def _responses(
        self, prompts: list[list[int]], samples: int, rows: int, streams: UniformStreams | None, sampling: Sampling, watch: Watch
    ) -> Branches:
        """`samples` responses to each prompt, until all have ended."""
        device, limit = self._device, sampling.max_new_tokens
        cache = kv_cache.new_cache(self._model.config)
        ids, mask = self._left_padded(prompts, limit)
        width = ids.shape[1]
        lengths = np.array([len(prompt) for prompt in prompts])
        positions = torch.arange(width, device=device) - torch.from_numpy(width - lengths[:, None]).to(device)
        with head_input(
            self._model.get_output_embeddings(), torch.Tensor.contiguous
        ):  # of each prompt's tokens the last one alone: a strided view
            logits = self._forward(ids, mask, positions.clamp(min=0), cache)
        rows = min(rows, len(prompts) * samples)
        kv_cache.expand(cache, rows, width + limit)

        branches = Branches(len(prompts), samples, limit, capacity=rows, eos=self._loaded.eos_ids, vocabulary=logits.shape[1])
        numbers, live_mask = None, mask
        while True:
            if streams is not None:
                if branches.step % _BLOCK == 0:
                    block = streams.draw(branches.live.tolist(), min(_BLOCK, limit - branches.step))
                numbers = torch.from_numpy(branches.spread(block[branches.live, branches.step % _BLOCK])).to(device)
            drawn = sample_tokens(logits, numbers, sampling.temperature)
            move = branches.advance((drawn if drawn.ndim == 2 else drawn[:, None]).cpu().numpy())
            watch(move.finished, move.sampled)
            if not len(branches.live):
                return branches
            if not move.within(len(logits)):
                cache.batch_select_indices(torch.from_numpy(move.sources).to(device))
                live_mask = None if mask is None else mask[torch.from_numpy(branches.owners).to(device)]
            position = torch.from_numpy(lengths[branches.owners] + branches.step - 1).to(device)
            logits = self._forward(torch.from_numpy(move.tokens).to(device)[:, None], live_mask, position[:, None], cache)

    def _left_padded(self, prompts: list[list[int]], room: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Ids (prompts, width), padded on the left, and the attention mask (prompts, width + room).

        The mask is made from lengths: a comparison with the pad id would also hide real tokens with that id. It is None without any padding,
        since attention is fastest without a mask.
        """
        width = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[self._loaded.pad_id] * (width - len(prompt)) + prompt for prompt in prompts], device=self._device)
        starts = torch.tensor([[width - len(prompt)] for prompt in prompts], device=self._device)
        padded = bool(starts.any())
        return ids, torch.arange(width + room, device=self._device) >= starts if padded else None

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor, cache: Cache) -> torch.Tensor:
        """Logits (rows, vocabulary) after the last of the new tokens `ids` (rows, new). Adds their keys and values to `cache`."""
        seen = cache.get_seq_length() + ids.shape[1]
        output = self._model(
            input_ids=ids,
            attention_mask=None if mask is None else mask[:, :seen],
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    @torch.inference_mode()
    def _fitting_tokens(self) -> int:
        cache = kv_cache.new_cache(self._model.config)
        ids = torch.tensor([[self._loaded.pad_id, self._loaded.pad_id]], device=self._device)
        self._forward(ids, None, torch.tensor([[0, 1]], device=self._device), cache)
        weights = sum(parameter.nbytes for parameter in self._model.parameters())
        return max(1, _memory_budget(self._device, weights) // kv_cache.bytes_per_token(cache, 2))


def _split(samples: range, rows: int) -> list[range]:
    size = max(1, rows)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def _memory_budget(device: torch.device, weights: int) -> int:
    """Bytes for keys and values beside so many bytes of weights."""
    if device.type == "cuda":
        return int(_GPU_SHARE * torch.cuda.get_device_properties(device).total_memory)
    physical: Any = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(int(_CPU_SHARE * physical), max(_CPU_BYTES, _CPU_WEIGHTS * weights))
