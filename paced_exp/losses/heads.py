"""A model's head as plain numbers: what turns hidden states into logits, and the hidden states that the model gives it.

The states are what the head is called with in the model's own forward pass, in which it then multiplies no token. So wrappers
(distributed training, autocast) and whatever a model does before its head stay as they are, and no logits exist.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from paced_exp.core.errors import UserError
from paced_exp.losses.alignment import ModelInput, last_logits
from paced_exp.losses.divergences import wide
from paced_exp.losses.products import projected
from paced_exp.models.head_input import head_input

# How far the model's own logits may be from ours, relative to the largest: rounding only.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_HALF_TOLERANCE = 3e-2
_TRIED = 8  # tokens on which the two are compared


@dataclass(frozen=True)
class Head:
    """A linear head: logits z = scale (W h + b), then cap tanh(z / cap) where there is a soft cap.

    weight (V, H), bias (V,) or None, scale (Cohere, Granite), softcap (Gemma).
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    @property
    def width(self) -> int:
        """Tokens in the vocabulary."""
        return int(self.weight.shape[0])

    def to(self, dtype: torch.dtype) -> "Head":
        """The head with its weight in `dtype`: what autocast reads. Made once for all chunks, where it is a copy."""
        return self if self.weight.dtype == dtype else replace(self, weight=self.weight.detach().to(dtype))

    @torch.no_grad()
    def products(self, states: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """W h + b (n, width) of the first `width` tokens for states (n, H), written at the start of `out` (at least n, width)."""
        width = out.shape[1]
        found = projected(states, self.weight[:width], out)
        return found if self.bias is None else found.add_(self.bias[:width])

    def shaped(self, products: torch.Tensor) -> torch.Tensor:
        """The logits of `products`; without scale and cap the same tensor."""
        logits = products if self.scale == 1 else products * self.scale
        return logits if self.softcap is None else (logits / self.softcap).tanh_().mul_(self.softcap)

    @torch.no_grad()
    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """The logits (n, V) of states (n, H), without a graph."""
        out = torch.empty(len(states), self.width, dtype=wide(states[:0]).dtype, device=states.device)
        return self.shaped(self.products(states, out))


@dataclass(frozen=True)
class States:
    """Hidden states (N, H) and the head that they are meant for: a teacher's targets without its logits."""

    states: torch.Tensor
    head: Head

    def logits(self) -> torch.Tensor:
        """The logits (N, V)."""
        return self.head.logits(self.states)


@dataclass(frozen=True)
class PlainHead:
    """A model's head that is known to be plain, from `plain_head`. scale, softcap: of `Head`."""

    module: nn.Linear
    scale: float
    softcap: float | None

    def head(self) -> Head:
        """The head with its weights as they are now."""
        return Head(self.module.weight, self.module.bias, self.scale, self.softcap)

    def states(self, model: Any, read: ModelInput) -> torch.Tensor:
        """What the head would have been given at the marked positions (N, H), from one forward pass of `model`, which may be wrapped.

        Under autocast they are in its dtype, as the head would have read them.
        """
        found: list[torch.Tensor] = []

        def keep(states: torch.Tensor) -> torch.Tensor:
            device = states.device.type
            found.append(states.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else states)
            return states[:, :0]  # the head itself runs on no token

        with head_input(self.module, keep):
            last_logits(model, read)
        (states,) = found
        return states[read.predicting]


def plain_head(model: Any, whose: str) -> PlainHead:
    """The head of `model`, checked: on a few tokens its logits must be those of the model's own forward pass.

    whose: student or teacher, for the message. Raises `UserError` where the head is not a linear layer alone (an adapter, a quantised
    layer), or where the model does more with its output than a scale and a soft cap.
    """
    module = model.get_output_embeddings()
    if not isinstance(module, nn.Linear) or type(module).forward is not nn.Linear.forward or "forward" in vars(module):
        kind = "absent" if module is None else f"a {type(module).__name__}"
        raise _refused(whose, f"is {kind}, not a linear layer alone")
    config = model.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    plain = PlainHead(module, scale, getattr(config, "final_logit_softcapping", None))
    given: list[torch.Tensor] = []

    def keep(states: torch.Tensor) -> torch.Tensor:
        given.append(states)
        return states

    training = model.training
    model.eval()
    try:
        with torch.no_grad(), head_input(module, keep):
            ids = torch.arange(_TRIED, device=module.weight.device)[None] % module.weight.shape[0]
            expected = wide(model(input_ids=ids, use_cache=False).logits)[0]
    finally:
        model.train(training)
    with torch.no_grad():
        difference = float((plain.head().logits(given[0][0]) - expected).abs().max()) if len(given) == 1 else torch.inf
    if not difference <= _TOLERANCE.get(module.weight.dtype, _HALF_TOLERANCE) * float(expected.abs().max()):
        raise _refused(whose, f"of a {type(model).__name__} gives other logits than its weights, scale and soft cap say")
    return plain


def head_if_plain(model: Any) -> PlainHead | None:
    """The head of `model` where it is plain (`plain_head`)."""
    try:
        return plain_head(model, "model")
    except UserError:
        return None


def _refused(whose: str, why: str) -> UserError:
    return UserError(f"`loss` fused needs a plain linear head, and the {whose}'s {why}; give `loss` dense")
