"""The lab's problem families: reasoning-gym generators at five graded levels (mathematics) or three (retention).

Mathematics is what is distilled; the retention families never occur in distillation data, so a drop on them is forgetting.
number_sorting is left out of retention on purpose: its fixed instructions alone cost more tokens than a whole problem of the others; and
letter_counting, which these small models learn long after everything else.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import reasoning_gym

from paced_exp.lab import solutions


@dataclass(frozen=True)
class Family:
    """A reasoning-gym data set by name, its configuration at each level (1 first), and the function that works out a solution."""

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


MATHEMATICS: dict[str, Family] = {
    family.name: family
    for family in (
        Family("chain_sum", (_terms(2, 1), _terms(3, 1), _terms(2, 2), _terms(3, 2), _terms(4, 2)), solutions.chain_sum),
        Family("products", (_terms(2, 1), _terms(3, 1), _terms(2, 2), _terms(4, 1), _terms(5, 1)), solutions.products),
        Family("gcd", tuple({"min_value": 2, "max_value": value} for value in (10, 20, 40, 70, 100)), solutions.gcd),
        Family(
            "simple_equations",
            (_equation(2, 5), _equation(2, 10), _equation(3, 6), _equation(3, 10), _equation(3, 15)),
            solutions.simple_equations,
        ),
        Family(
            "fraction_simplification",
            (_fraction(6, 4), _fraction(9, 6), _fraction(9, 9), _fraction(12, 9), _fraction(15, 12)),
            solutions.fraction_simplification,
        ),
        Family(
            "decimal_chain_sum",
            (_decimals(2, 1), _decimals(3, 1), _decimals(2, 2), _decimals(3, 2), _decimals(4, 2)),
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
    """The reasoning-gym data set of a family at a level; item i is made from seed i alone, whatever was drawn before."""
    return reasoning_gym.create_dataset(name, seed=0, size=2**62, **FAMILIES[name].levels[level - 1])
