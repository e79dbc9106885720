"""Teacher and student logits at the same response tokens, whatever their prompts.

Each row is prompt ids + response ids, right-padded; a causal model's outputs at real positions do not see the padding behind them, so no
attention mask is needed. position_ids are given at the batch's full shape, which keeps every layer's output per problem.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from paced_exp.core.errors import UserError


@dataclass(frozen=True)
class Responses:
    """Response tokens of a batch: tokens (B, R) right-padded with 0, mask (B, R) True at real tokens."""

    tokens: torch.Tensor
    mask: torch.Tensor


def pad_responses(responses: Sequence[Sequence[int]], device: torch.device) -> Responses:
    """Responses as tensors. Raises `UserError` for an empty response."""
    if any(len(response) == 0 for response in responses):
        raise UserError("a response has no tokens, so it has no loss; drop the problem")
    width = max(len(response) for response in responses)
    tokens = torch.zeros((len(responses), width), dtype=torch.long)
    mask = torch.zeros((len(responses), width), dtype=torch.bool)
    for row, response in enumerate(responses):
        tokens[row, : len(response)] = torch.tensor(response)
        mask[row, : len(response)] = True
    return Responses(tokens.to(device), mask.to(device))


def check_fits(model: Any, prompt: Sequence[int], response: Sequence[int], problem_id: str) -> None:
    """Raise `UserError` naming the problem when prompt and response exceed the model's context."""
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and len(prompt) + len(response) > context:
        raise UserError(
            f"problem {problem_id!r}: prompt of {len(prompt)} and response of {len(response)} tokens exceed the model's context of {context}; "
            "shorten the responses or drop the problem"
        )


def response_logits(model: Any, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits (B, R, V) that predict each response token: those at positions len(prompt) - 1 onwards. Rows past a response hold padding."""
    device = model.device
    lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    ids = torch.zeros((len(prompts), max(lengths)), dtype=torch.long)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        ids[row, : lengths[row]] = torch.tensor([*prompt, *response])
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    logits: torch.Tensor = model(input_ids=ids.to(device), position_ids=positions.to(device), use_cache=False).logits
    starts = torch.tensor([len(prompt) - 1 for prompt in prompts])[:, None]
    width = max(len(response) for response in responses)
    columns = (starts + torch.arange(width)).clamp(max=ids.shape[1] - 1).to(device)
    return logits.gather(1, columns[..., None].expand(-1, -1, logits.shape[-1]))
