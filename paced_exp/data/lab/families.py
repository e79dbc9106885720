"""The lab's problem families: reasoning-gym generators at levels of difficulty, six families of mathematics and three of retention.

The shipped models of a million parameters use levels 1 to 5; the models of the gpu scale use levels 1 to 8.

Distillation trains on mathematics only, so a drop on the retention families is forgetting. Two families are left out of retention:
number_sorting, whose fixed instructions have more tokens than a whole problem of the others, and letter_counting, which these small models
learn long after everything else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import reasoning_gym

from paced_exp.data.lab import solutions


@dataclass(frozen=True)
class Family:
    """A reasoning-gym data set. levels: its configuration at each level, from level 1. steps: the function that writes a worked solution."""

    name: str
    levels: tuple[dict[str, Any], ...]
    steps: solutions.Steps


def _terms(terms: int, digits: int) -> dict[str, Any]:
    return {"min_terms": terms, "max_terms": terms, "min_digits": digits, "max_digits": digits}


def _decimals(terms: int, digits: int) -> dict[str, Any]:
    return _terms(terms, digits) | {"min_decimal_places": 1, "max_decimal_places": 1}


def _equation(max_terms: int, max_value: int) -> dict[str, Any]:
    return {"min_terms": 2, "max_terms": max_terms, "min_value": 1, "max_value": max_value}


def _fraction(max_value: int, max_factor: int) -> dict[str, Any]:
    return {"min_value": 1, "max_value": max_value, "min_factor": 2, "max_factor": max_factor, "styles": ("plain",)}


def _levels(configuration: Callable[[int, int], dict[str, Any]], *shapes: tuple[int, int]) -> tuple[dict[str, Any], ...]:
    return tuple(configuration(*shape) for shape in shapes)


MATHEMATICS: dict[str, Family] = {
    family.name: family
    for family in (
        Family("chain_sum", _levels(_terms, (2, 1), (3, 1), (2, 2), (3, 2), (4, 2), (4, 3), (5, 3), (6, 4)), solutions.chain_sum),
        Family("products", _levels(_terms, (2, 1), (3, 1), (2, 2), (4, 1), (5, 1), (6, 1), (3, 2), (2, 3)), solutions.products),
        Family("gcd", tuple({"min_value": 2, "max_value": value} for value in (10, 20, 40, 70, 100, 200, 500, 1000)), solutions.gcd),
        Family(
            "simple_equations",
            _levels(_equation, (2, 5), (2, 10), (3, 6), (3, 10), (3, 15), (3, 25), (3, 50), (3, 100)),
            solutions.simple_equations,
        ),
        Family(
            "fraction_simplification",
            _levels(_fraction, (6, 4), (9, 6), (9, 9), (12, 9), (15, 12), (25, 20), (40, 30), (60, 50)),
            solutions.fraction_simplification,
        ),
        Family(
            "decimal_chain_sum",
            _levels(_decimals, (2, 1), (3, 1), (2, 2), (3, 2), (4, 2), (4, 3), (5, 3), (6, 4)),
            solutions.decimal_chain_sum,
        ),
    )
}

RETENTION: dict[str, Family] = {
    family.name: family
    for family in (
        Family("spell_backward", tuple({"min_word_len": length, "max_word_len": length} for length in (3, 4, 5)), solutions.direct),
        Family(
            "number_filtering",
            tuple(
                {"min_numbers": count, "max_numbers": count, "max_decimals": 0, "min_value": 10.0, "max_value": 99.0} for count in (2, 3, 4)
            ),
            solutions.direct,
        ),
        Family(
            "word_sequence_reversal",
            tuple({"min_words": low, "max_words": high} for low, high in ((2, 2), (2, 3), (3, 3))),
            solutions.direct,
        ),
    )
}

FAMILIES: dict[str, Family] = MATHEMATICS | RETENTION


@cache
def generator(name: str, level: int) -> Any:
    """The reasoning-gym data set of a family at a level. Item i depends on the seed i alone, not on earlier draws."""
    return reasoning_gym.create_dataset(name, seed=0, size=2**62, **FAMILIES[name].levels[level - 1])
