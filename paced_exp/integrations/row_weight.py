"""The weight that a row of data carries through a peer's training, and its check. No peer and no numpy is needed to read it."""

from collections.abc import Mapping
from typing import Any

from paced_exp.core.errors import UserError

WEIGHT = "paced_weight"  # the column, as `paced export` writes it


def weight_in(row: Mapping[str, Any], what: str, fix: str) -> float:
    """The weight of `row`. what: who has it, in words, with {} for the column and its value.

    Raises `UserError`, which ends in `fix`, where there is none or it is negative.
    """
    weight = row.get(WEIGHT)
    if weight is None or not weight >= 0:
        raise UserError(f"{what.format(f'{WEIGHT!r} {weight}')}, which must be a number of at least 0; {fix}")
    return float(weight)
