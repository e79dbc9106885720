"""The peer of the hf engine that anybody writes first: transformers' `model.generate` on batches of prompts as they come."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Prompt, Rollout, Sampling, Watch


class PlainGenerate:
    """`model.generate` with `num_return_sequences`, on prompts in the order given, padded on the left, `rows` responses at a time.

    It draws from torch's global stream, so that a rollout depends on its batch. A batch takes as long as its longest response.
    """

    def __init__(self, loaded: LoadedModel, rows: int) -> None:
        self._loaded, self._rows = loaded, rows

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, *, watch: Watch | None = None) -> Iterator[list[Rollout]]:
        """As `RolloutEngine.generate`, for a temperature above 0."""
        model: Any = self._loaded.model
        eos, pad = self._loaded.eos_ids, self._loaded.pad_id
        count = max(1, self._rows // sampling.samples)
        for start in range(0, len(prompts), count):
            batch = prompts[start : start + count]
            width = max(len(prompt.token_ids) for prompt in batch)
            ids = torch.tensor([[pad] * (width - len(prompt.token_ids)) + prompt.token_ids for prompt in batch], device=self._loaded.device)
            lengths = torch.tensor([[len(prompt.token_ids)] for prompt in batch], device=self._loaded.device)
            mask = (torch.arange(width, device=self._loaded.device) >= width - lengths).long()
            with torch.random.fork_rng(devices=[ids.device] if ids.is_cuda else []):
                torch.manual_seed(sampling.seed + start)
                rows = model.generate(
                    ids,
                    attention_mask=mask,
                    do_sample=True,
                    temperature=sampling.temperature,
                    top_k=0,
                    top_p=1.0,
                    max_new_tokens=sampling.max_new_tokens,
                    num_return_sequences=sampling.samples,
                    eos_token_id=list(eos),
                    pad_token_id=pad,
                )
            responses = [_ended(row, eos) for row in rows[:, width:].tolist()]
            for place, prompt in enumerate(batch):
                own = responses[place * sampling.samples : (place + 1) * sampling.samples]
                yield [Rollout(prompt.problem_id, sample, ids, ids[-1] in eos, sampling.seed) for sample, ids in enumerate(own)]


def _ended(row: list[int], eos: tuple[int, ...]) -> list[int]:
    """The response up to its first end; the rest is padding."""
    end = next((place for place, token in enumerate(row) if token in eos), len(row) - 1)
    return row[: end + 1]
