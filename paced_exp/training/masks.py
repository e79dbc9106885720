r"""Supervision masks: which response tokens the loss is taken on.

`all`; `steps`, the worked steps before the final \boxed{...}; `answer`, from that box on; `first:F`, the first ceil(F R) of the R response
tokens. Tokens behind the last supervised one are not even computed, so `first:0.5` halves the work (Distilling the Essence). There the
fraction is of the whole sequence; here it is of the response, since a prompt carries no loss.
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
    """The mask by name, as a function from response ids to a flag a token. decode: ids to text.

    A response without a box is all steps and no answer. Raises `UserError` for an unknown name and for F outside (0, 1].
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
    """Flags of the tokens before the last box, or from the token on that its first character is in."""
    start = decode(ids).rfind("\\boxed")
    # The token that holds character `start` is the first whose prefix, itself included, decodes to more than `start` characters.
    count = len(ids) if start < 0 else bisect_right(range(len(ids)), start, key=lambda index: len(decode(ids[: index + 1])))
    return [(index < count) == before for index in range(len(ids))]
