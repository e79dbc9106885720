r"""Supervision masks: which response tokens the loss covers.

`all`; `steps`, the tokens before the final \boxed{...}; `answer`, the tokens from that box on; `first:F`, the first ceil(F R) of R response
tokens. Tokens after the last supervised one are not computed, so `first:0.5` halves the work, as in "Distilling the Essence". There F is a
fraction of the whole sequence; here it is a fraction of the response, since a prompt has no loss.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial

from paced_exp.core.errors import UserError

Mask = Callable[[Sequence[int]], list[bool]]
Decode = Callable[[Sequence[int]], str]

KINDS = ("all", "steps", "answer", "first:F")


def parse_mask(text: str, decode: Decode) -> Mask:
    """The mask called `text`, a function from response ids to a flag for each token. decode: turns ids into text.

    A response without a box has only steps and no answer. Raises `UserError` for an unknown name and for F outside (0, 1].
    """
    if text == "all":
        return lambda ids: [True] * len(ids)
    if text == "steps":
        return lambda ids: _split(ids, decode, before=True)
    if text == "answer":
        return lambda ids: _split(ids, decode, before=False)
    name, _, number = text.partition(":")
    if name != "first":
        raise UserError(f"`supervise` {text} is not known; known: {', '.join(KINDS)} with F a fraction in (0, 1]")
    try:
        fraction = float(number)
    except ValueError:
        fraction = math.nan
    if not 0 < fraction <= 1:
        raise UserError(f"`supervise` {text}: the fraction must be a number above 0 and at most 1, such as first:0.5")
    return partial(_first, fraction)


def _first(fraction: float, ids: Sequence[int]) -> list[bool]:
    # The tolerance keeps 0.1 * 30 = 3.0000000000000004 from becoming four tokens.
    count = min(len(ids), math.ceil(fraction * len(ids) - 1e-9))
    return [index < count for index in range(len(ids))]


def _split(ids: Sequence[int], decode: Decode, before: bool) -> list[bool]:
    """Flags of the tokens before the last box, or of those from the box's first character on."""
    start = decode(ids).rfind("\\boxed")
    # The token that holds character `start` is the first with which the decoded text is longer than `start` characters.
    count = len(ids) if start < 0 else bisect_right(range(len(ids)), start, key=lambda index: len(decode(ids[: index + 1])))
    return [(index < count) == before for index in range(len(ids))]
