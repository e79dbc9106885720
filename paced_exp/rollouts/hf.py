"""Rollouts on a transformers model: batched decoding with a key-value cache, on a CPU or one GPU.

Prompts are sorted by length and cut into chunks by a budget of tokens. A chunk is padded on the left, by lengths; one prefill serves the
K samples of a prompt; rows that finish leave the batch. Each rollout draws from its own random stream, so results do not depend on how
prompts were grouped, but for floating-point rounding of the logits (a flip needs a uniform number within rounding of a step of the CDF).
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from paced_exp.errors import UserError
from paced_exp.models import LoadedModel
from paced_exp.rollouts import kv_cache
from paced_exp.rollouts.engine import Prompt, Rollout, check_request, rollout_seed
from paced_exp.rollouts.sampling import UniformStreams, sample_tokens

# Keys and values may take this share of the machine's memory. Of the total, not of what is free: the same machine makes the same chunks.
_GPU_SHARE = 0.4
_CPU_SHARE = 1 / 16
_CPU_BYTES = 512 << 20  # more rows than this holds make a lab model no faster
_BLOCK = 64  # decoding steps for which uniforms are drawn at once


@dataclass(frozen=True)
class _Sampling:
    samples: range
    max_new_tokens: int
    temperature: float
    seed: int


class HFEngine:
    """The default engine.

    loaded: the model. max_batch_tokens: largest rows x (prompt + max_new_tokens) decoded at once, which bounds memory; default: what
    fits in 40 % of a GPU's memory, or on a CPU in a sixteenth of the machine's and 512 MiB.
    """

    def __init__(self, loaded: LoadedModel, *, max_batch_tokens: int | None = None) -> None:
        if max_batch_tokens is not None and max_batch_tokens < 1:
            raise UserError(f"--max-batch-tokens {max_batch_tokens} must be at least 1; leave it out for a default that fits the memory")
        self._loaded = loaded
        self._model = loaded.model
        self._device = loaded.device
        self._eos = torch.tensor(loaded.eos_ids, device=self._device)
        self._context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
        self.max_batch_tokens = self._fitting_tokens() if max_batch_tokens is None else max_batch_tokens

    def generate(
        self, prompts: Sequence[Prompt], *, samples: int, max_new_tokens: int, temperature: float, seed: int
    ) -> Iterator[list[Rollout]]:
        """See `RolloutEngine.generate`. Also raises `UserError` where one rollout alone exceeds `max_batch_tokens`."""
        vocabulary = self._model.get_input_embeddings().num_embeddings
        check_request(
            prompts, samples=samples, max_new_tokens=max_new_tokens, temperature=temperature, context=self._context, vocabulary=vocabulary
        )
        needed = max((len(prompt.token_ids) for prompt in prompts), default=0) + max_new_tokens
        if prompts and needed > self.max_batch_tokens:
            raise UserError(
                f"one rollout needs {needed} tokens (prompt and --max-new-tokens {max_new_tokens}), over --max-batch-tokens {self.max_batch_tokens}; raise that if the memory allows, or lower --max-new-tokens"
            )
        return self._generate(prompts, _Sampling(range(samples), max_new_tokens, temperature, seed))

    def _generate(self, prompts: Sequence[Prompt], sampling: _Sampling) -> Iterator[list[Rollout]]:
        # Longest first: too little memory shows at once, and a chunk's first prompt is its widest.
        ordered = sorted(prompts, key=lambda prompt: (-len(prompt.token_ids), prompt.problem_id))
        while ordered:
            rows = self.max_batch_tokens // (len(ordered[0].token_ids) + sampling.max_new_tokens)
            count = max(1, rows // len(sampling.samples))
            chunk, ordered = ordered[:count], ordered[count:]
            # A prompt with more samples than rows fit is decoded in several passes.
            passes = [self._decode(chunk, part, sampling) for part in _split(sampling.samples, rows)]
            for groups in zip(*passes, strict=True):
                yield [rollout for group in groups for rollout in group]

    def _decode(self, prompts: Sequence[Prompt], samples: range, sampling: _Sampling) -> list[list[Rollout]]:
        """Rollouts `samples` of each prompt, in one batch."""
        seeds = [[rollout_seed(sampling.seed, prompt.problem_id, sample) for sample in samples] for prompt in prompts]
        greedy = sampling.temperature == 0
        # Greedy rollouts of a prompt are all the same, so one row is decoded for all.
        streams = None if greedy else UniformStreams([number for group in seeds for number in group])
        responses = self._responses(
            [prompt.token_ids for prompt in prompts], 1 if greedy else len(samples), streams, sampling.max_new_tokens, sampling.temperature
        )
        eos = set(self._loaded.eos_ids)
        made = []
        for index, prompt in enumerate(prompts):
            own = [responses[index]] * len(samples) if greedy else responses[index * len(samples) : (index + 1) * len(samples)]
            made.append(
                [
                    Rollout(prompt.problem_id, sample, list(ids), ids[-1] in eos, number)
                    for sample, ids, number in zip(samples, own, seeds[index], strict=True)
                ]
            )
        return made

    @torch.inference_mode()
    def _responses(
        self, prompts: list[list[int]], repeats: int, streams: UniformStreams | None, max_new_tokens: int, temperature: float
    ) -> list[list[int]]:
        """Token ids of `repeats` responses to each prompt: row r answers prompt r // repeats."""
        device = self._device
        logits, cache, mask = self._prefill(prompts, repeats, max_new_tokens)
        rows = len(logits)
        prompt_lengths = torch.tensor([len(ids) for ids in prompts], device=device).repeat_interleave(repeats)
        width = int(prompt_lengths.max())
        written = torch.empty(rows, max_new_tokens, dtype=torch.int32, device=device)
        lengths = torch.full((rows,), max_new_tokens, device=device)
        live = torch.arange(rows, device=device)  # which row of `written` each row of the batch is
        uniforms = None
        for step in range(max_new_tokens):
            if streams is not None:
                if step % _BLOCK == 0:
                    drawn = streams.draw(live.tolist(), min(_BLOCK, max_new_tokens - step))
                    block = torch.from_numpy(drawn).to(device)
                uniforms = block[live, step % _BLOCK]
            tokens = sample_tokens(logits, uniforms, temperature)
            written[live, step] = tokens.int()
            ended = torch.isin(tokens, self._eos)
            if bool(ended.any()):
                lengths[live[ended]] = step + 1
                kept = kv_cache.compact(~ended)
                if len(kept) == 0:
                    break
                live, tokens = live[kept], tokens[kept]
                mask = None if mask is None else mask[kept]
                if step + 1 < max_new_tokens:
                    cache.batch_select_indices(kept)
            if step + 1 == max_new_tokens:
                break
            logits = self._model(
                input_ids=tokens[:, None],
                attention_mask=None if mask is None else mask[:, : width + step + 1],
                position_ids=(prompt_lengths[live] + step)[:, None],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        ids, ends = written.tolist(), lengths.tolist()
        return [row[:end] for row, end in zip(ids, ends, strict=True)]

    def _prefill(
        self, prompts: list[list[int]], repeats: int, max_new_tokens: int
    ) -> tuple[torch.Tensor, kv_cache.Cache, torch.Tensor | None]:
        """Logits after each prompt (rows, vocabulary), the cache, and the mask (rows, prompt + max_new_tokens), None without padding.

        Every prompt is run once; its row is then repeated for its samples.
        """
        width = max(len(ids) for ids in prompts)
        ids = torch.full((len(prompts), width), self._loaded.pad_id)
        mask = torch.zeros(len(prompts), width + max_new_tokens, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = True
        ids, mask = ids.to(self._device), mask.to(self._device)
        padded = any(len(prompt) < width for prompt in prompts)
        cache = kv_cache.new_cache(self._model.config)
        logits = self._model(
            input_ids=ids,
            attention_mask=mask[:, :width] if padded else None,
            position_ids=(mask[:, :width].cumsum(dim=1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        kv_cache.expand(cache, repeats, width + max_new_tokens)
        # Without a mask attention takes its fastest path, so an unpadded chunk has none.
        return logits.repeat_interleave(repeats, dim=0), cache, mask.repeat_interleave(repeats, dim=0) if padded else None

    @torch.inference_mode()
    def _fitting_tokens(self) -> int:
        cache = kv_cache.new_cache(self._model.config)
        ids = torch.full((1, 2), self._loaded.pad_id, device=self._device)
        self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return max(1, _memory_budget(self._device) // kv_cache.bytes_per_token(cache, 2))


def _split(samples: range, rows: int) -> list[range]:
    size = max(1, rows)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def _memory_budget(device: torch.device) -> int:
    if device.type == "cuda":
        return int(_GPU_SHARE * torch.cuda.get_device_properties(device).total_memory)
    physical: Any = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(int(_CPU_SHARE * physical), _CPU_BYTES)
