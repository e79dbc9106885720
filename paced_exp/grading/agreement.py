"""Whether expressions agree that math-verify takes for equal: numbers to a relative error of 1e-6, and zero only with zero.

math-verify rounds to six decimals, so it takes all numbers under 5e-7 for equal. All expressions are sympy objects from its parser.
"""

from collections.abc import Sequence
from typing import Any

from latex2sympy2_extended.logic import And
from math_verify import verify
from math_verify.grader import get_pct_val, is_equation, unwrap_fcs
from sympy import Eq, Expr, FiniteSet, Float, Interval, MatrixBase, MatrixExpr, Rational, Set, Symbol, Tuple, Union, nan
from sympy.core.relational import Relational

RELATIVE_ERROR = 1e-6
# The two sides of an equation between numbers may differ by rounding, as in 1/3 = 0.333.
ROUNDING = 1e-2
DIGITS = 30
# Two expressions in unknowns are compared at points of these magnitudes; next to tiny values even a small constant counts.
SCALES = (Rational(1), Rational(1, 10**40))


def statement_holds(expression: Any) -> bool:
    """Whether all equations between numbers are true up to rounding. In a chain of equations all numbers must be equal."""
    chains: list[list[Any]] = []
    for equation in expression._unsorted_args if isinstance(expression, And) else (expression,):
        if not isinstance(equation, Eq):
            continue
        if not (chains and chains[-1][-1] == equation.lhs):
            chains.append([equation.lhs])
        chains[-1].append(equation.rhs)
    for chain in chains:
        numbers = [number for side in chain if (number := value(side)) is not None]
        if not all(close(numbers[0], number, ROUNDING) for number in numbers[1:]):
            return False
    return True


def agree(gold: Any, answer: Any, percent: bool) -> bool:
    """Whether the numbers in two expressions that math-verify takes for equal agree to `RELATIVE_ERROR`.

    True if there are no numbers to compare: then math-verify decides.
    """
    if _same(gold, answer):
        return True
    if isinstance(gold, And | Relational) and isinstance(answer, And | Relational):
        return _relations_agree(gold, answer, percent)
    gold, answer = right_side(gold), right_side(answer)
    if isinstance(gold, And | Relational) and isinstance(answer, Set):
        try:
            gold = unwrap_fcs(gold).as_set()  # as math-verify compares them
        except Exception:  # sympy raises many types of error if it cannot solve an inequality
            return True
        return agree(gold, answer, percent)
    gold, answer = (side.doit() if isinstance(side, MatrixExpr) else side for side in (gold, answer))
    if isinstance(gold, MatrixBase) and isinstance(answer, MatrixBase):
        return gold.shape == answer.shape and _all_agree(gold.flat(), answer.flat(), percent)
    if _is_collection(gold) or _is_collection(answer):
        ordered = isinstance(gold, Tuple | Interval)
        ours, theirs = elements(gold, ordered), elements(answer, ordered)
        return _all_agree(ours, theirs, percent) if ordered else _match(ours, theirs, percent)
    return _scalars_agree(gold, answer, percent)


def _same(gold: Any, answer: Any) -> bool:
    return type(gold) is type(answer) and bool(gold == answer)


def _all_agree(gold: Sequence[Any], answer: Sequence[Any], percent: bool) -> bool:
    return len(gold) == len(answer) and all(agree(*pair, percent) for pair in zip(gold, answer, strict=True))


def _match(gold: Sequence[Any], answer: Sequence[Any], percent: bool) -> bool:
    """Whether the elements of two sets agree in pairs.

    Pairs are formed one by one, in order. That is enough where elements of a set differ by more than the error.
    """
    if len(gold) != len(answer):
        return False
    left = list(answer)
    for element in gold:
        found = next((index for index, other in enumerate(left) if equal(element, other, percent)), None)
        if found is None:
            return False
        left.pop(found)
    return True


def equal(gold: Any, answer: Any, percent: bool) -> bool:
    """Whether two expressions are the same, or equal by math-verify with numbers that agree."""
    return _same(gold, answer) or bool(verify(gold, answer, timeout_seconds=None) and agree(gold, answer, percent))


def _is_collection(expression: Any) -> bool:
    return isinstance(expression, FiniteSet | Tuple | Interval | Union)


def elements(expression: Any, ordered: bool) -> list[Any]:
    """The elements of a set, list or pair, or the ends of an interval; of anything else, itself alone. ordered: as they were written."""
    if isinstance(expression, Interval):
        return [expression.start, expression.end]
    if not _is_collection(expression):
        return [expression]
    # latex2sympy's finite sets keep the order in which they were written, and repeated elements.
    return list(getattr(expression, "_unsorted_args", expression.args) if ordered else expression.args)


def right_side(expression: Any) -> Any:
    """The last right side of an assignment or a chain of assignments; any other expression as it is.

    math-verify compares this side with an answer that is not an assignment.
    """
    last = expression._unsorted_args[-1] if isinstance(expression, And) and is_equation(expression) else expression
    return last.rhs if isinstance(last, Eq) else expression


def _relations_agree(gold: Any, answer: Any, percent: bool) -> bool:
    ours, theirs = (list(x._unsorted_args) if isinstance(x, And) else [x] for x in (gold, answer))
    if len(ours) != len(theirs):
        return True
    for one, other in zip(ours, theirs, strict=True):
        if not isinstance(one, Relational) or not isinstance(other, Relational):
            continue
        for mine, yours in (((one.lhs, one.rhs), (other.lhs, other.rhs)), ((one.lhs, one.rhs), (other.rhs, other.lhs))):
            for index in (0, 1):
                if mine[index] == yours[index] and not agree(mine[1 - index], yours[1 - index], percent):
                    return False
    return True


def _scalars_agree(gold: Any, answer: Any, percent: bool) -> bool:
    ours, theirs = get_pct_val(gold), get_pct_val(answer)
    if ours is not None and theirs is not None:
        return agree(ours, theirs, percent)
    if ours is not None:
        # The gold answer gives the unit, so 25 and 0.25 are both correct for 25 %.
        return _scalars_agree(ours, answer, percent) or _scalars_agree(ours / 100, answer, percent)
    if theirs is not None:
        number = value(gold)
        share = number is not None and number.is_real and abs(number) <= 1 and _scalars_agree(gold, theirs / 100, percent)
        return bool(share) or (percent and _scalars_agree(gold, theirs, percent))
    symbols: set[Any] = getattr(gold, "free_symbols", set())
    if symbols != getattr(answer, "free_symbols", set()) or isinstance(gold, Symbol) or isinstance(answer, Symbol):
        return True  # names and words: math-verify compares them as text
    for scale in SCALES if symbols else SCALES[:1]:
        point = {symbol: scale * Rational(7310 + 97 * index, 9973) for index, symbol in enumerate(sorted(symbols, key=str))}
        one, other = value(gold, point), value(answer, point)
        if one is not None and other is not None and not close(one, other, RELATIVE_ERROR):
            return False
    return True


def value(expression: Any, point: dict[Any, Any] | None = None) -> Any:
    """An expression's value to `DIGITS` digits; None if it is not a number.

    point: the values of the unknowns. Without it an expression with unknowns has no value.
    """
    if not isinstance(expression, Expr):
        return None
    try:
        number = expression.subs(point).evalf(DIGITS) if point else None if expression.free_symbols else expression.evalf(DIGITS)
    except (ArithmeticError, AttributeError, TypeError, ValueError, NotImplementedError):  # whatever sympy raises where it has no value
        return None
    return number if number is not None and number.is_number and number is not nan else None


def close(gold: Any, answer: Any, error: float) -> bool:
    """Whether two numbers from `value` agree to a relative error. Zero only agrees with zero."""
    if not (gold.is_finite and answer.is_finite):
        return bool(gold == answer)
    if _is_zero(gold) or _is_zero(answer):
        return _is_zero(gold) and _is_zero(answer)
    # Slightly more than the error, so that floating-point rounding does not refuse 0.333333 for 1/3.
    return bool(abs(gold - answer) <= error * (1 + 1e-9) * abs(gold))


def _is_zero(number: Any) -> bool:
    """Whether a number is exactly zero, or evaluation found no correct digit of it (sympy then gives it a precision of one bit)."""
    return all(part == 0 or (isinstance(part, Float) and part._prec == 1) for part in number.as_real_imag())
