"""The weight that a row of data carries through a peer's training, and its check. No peer and no numpy is needed to read it."""

import math
from collections.abc import Mapping
from typing import Any

from paced_exp.core.errors import UserError

WEIGHT = "paced_weight"  # the column, as `paced export` writes it


def is_weight(value: Any) -> bool:
    """Whether `value` is a finite number of at least 0. Text is no number, whatever it says."""
    if isinstance(value, str | bytes):
        return False
    try:
        return 0 <= float(value) < math.inf
    except (TypeError, ValueError, OverflowError):
        return False


def weight_in(row: Mapping[str, Any], what: str, fix: str) -> float:
    """The weight of `row`. what: who has it, in words, with {} for the column and its value.

    Raises `UserError`, which ends in `fix`, where there is none, or one that is negative, not finite or no number.
    """
    weight = row.get(WEIGHT)
    if not is_weight(weight):
        raise UserError(f"{what.format(f'{WEIGHT!r} {weight!r:.80}')}, which must be a finite number of at least 0; {fix}")
    return float(weight)  # type: ignore[arg-type]
