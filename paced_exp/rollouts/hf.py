"""Rollouts on a transformers model: batched decoding with a key-value cache, on a CPU or one GPU.

Prompts are sorted by length and cut into chunks by a budget of tokens. A chunk is padded on the left. One prefill serves the K samples of a
prompt, and finished rows leave the batch. Each rollout draws from its own random stream, so the grouping of prompts only changes results through
floating-point rounding of the logits. That changes a token only if its uniform number lies within rounding of a step of the CDF.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache

from paced_exp.core.errors import UserError
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts import kv_cache
from paced_exp.rollouts.engine import Prompt, Rollout, Sampling, Watch, check_request, rollout_seed
from paced_exp.rollouts.sampling import UniformStreams, sample_tokens

# The share of the machine's memory for keys and values. It is a share of the total and not of the free memory, so that the same machine always
# makes the same chunks.
_GPU_SHARE = 0.4
_CPU_SHARE = 1 / 16
_CPU_BYTES = 256 << 20  # about 400 rows of a lab model; more memory was not faster (measured up to 1 GiB)
_BLOCK = 64  # decoding steps for which uniforms are drawn at once


class HFEngine:
    """The default engine.

    loaded: the model. max_batch_tokens: the largest rows x (prompt + max_new_tokens) decoded at once, which bounds memory. Its default fits
    into 40 % of a GPU's memory, or on a CPU into a sixteenth of the machine's memory, at most 256 MiB.
    """

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
        while ordered:
            rows = self.max_batch_tokens // (len(ordered[0].token_ids) + sampling.max_new_tokens)
            count = max(1, rows // (1 if sampling.temperature == 0 else sampling.samples))
            chunk, ordered = ordered[:count], ordered[count:]
            # If a prompt has more samples than rows fit, it is decoded in several passes.
            passes = [self._decode(chunk, part, sampling, watch) for part in _split(range(sampling.samples), rows)]
            for groups in zip(*passes, strict=True):
                yield [rollout for group in groups for rollout in group]

    def _decode(self, prompts: Sequence[Prompt], samples: range, sampling: Sampling, watch: Watch) -> list[list[Rollout]]:
        """Rollouts `samples` of each prompt, in one batch."""
        seeds = [[rollout_seed(sampling.seed, prompt.problem_id, sample) for sample in samples] for prompt in prompts]
        # Greedy rollouts of a prompt are equal, so only one row is decoded.
        greedy = sampling.temperature == 0
        streams = None if greedy else UniformStreams([number for group in seeds for number in group])
        repeats = 1 if greedy else len(samples)
        copies = len(samples) // repeats

        def told(finished: int, tokens: int) -> None:
            watch(copies * finished, copies * tokens)

        try:
            responses = self._responses([prompt.token_ids for prompt in prompts], repeats, streams, sampling, told)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{self._device} is out of memory with `max_batch_tokens` {self.max_batch_tokens}; give half of that, finished work is kept"
            ) from error
        eos = set(self._loaded.eos_ids)
        made = []
        for index, prompt in enumerate(prompts):
            own = responses[index * repeats : (index + 1) * repeats] * copies
            made.append(
                [
                    Rollout(prompt.problem_id, sample, list(ids), ids[-1] in eos, number)
                    for sample, ids, number in zip(samples, own, seeds[index], strict=True)
                ]
            )
        return made

    @torch.inference_mode()
    def _responses(
        self, prompts: list[list[int]], repeats: int, streams: UniformStreams | None, sampling: Sampling, watch: Watch
    ) -> list[list[int]]:
        """Token ids of `repeats` responses to each prompt: row r answers prompt r // repeats."""
        device, limit = self._device, sampling.max_new_tokens
        cache = kv_cache.new_cache(self._model.config)
        ids, mask = self._left_padded(prompts, limit)
        width = ids.shape[1]
        # Each prompt is prefilled once; its row is then repeated for its samples.
        positions = torch.arange(width, device=device) - torch.tensor([[width - len(prompt)] for prompt in prompts], device=device)
        logits = self._forward(ids, mask, positions.clamp(min=0), cache).repeat_interleave(repeats, dim=0)
        kv_cache.expand(cache, repeats, width + limit)
        mask = None if mask is None else mask.repeat_interleave(repeats, dim=0)
        position = (positions[:, -1:] + 1).repeat_interleave(repeats, dim=0)

        rows = len(logits)
        written = torch.empty(rows, limit, dtype=torch.int32, device=device)
        lengths = torch.full((rows,), limit, device=device)
        live = torch.arange(rows, device=device)  # for each row of the batch, its row in `written`
        uniforms = None
        for step in range(limit):
            if streams is not None:
                if step % _BLOCK == 0:
                    block = torch.from_numpy(streams.draw(live.tolist(), min(_BLOCK, limit - step))).to(device)
                uniforms = block[live, step % _BLOCK]
            tokens = sample_tokens(logits, uniforms, sampling.temperature)
            written[live, step] = tokens.int()
            ended = torch.isin(tokens, self._eos)
            lengths[live[ended]] = step + 1
            finished = len(tokens) if step + 1 == limit else int(ended.sum())
            watch(finished, len(tokens))
            if finished == len(tokens):
                break
            if finished:
                kept = kv_cache.compact(~ended)
                cache.batch_select_indices(kept)
                live, tokens, position = live[kept], tokens[kept], position[kept]
                mask = None if mask is None else mask[kept]
            logits = self._forward(tokens[:, None], mask, position + step, cache)
        return [row[:length] for row, length in zip(written.tolist(), lengths.tolist(), strict=True)]

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
        return max(1, _memory_budget(self._device) // kv_cache.bytes_per_token(cache, 2))


def _split(samples: range, rows: int) -> list[range]:
    size = max(1, rows)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def _memory_budget(device: torch.device) -> int:
    if device.type == "cuda":
        return int(_GPU_SHARE * torch.cuda.get_device_properties(device).total_memory)
    physical: Any = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(int(_CPU_SHARE * physical), _CPU_BYTES)
