r"""The grading rules that this project adds to math-verify's. Only the grading worker loads this module.

An answer that math-verify passes is correct only if all of these hold:

- Numbers agree to a relative error of 1e-6, and zero only agrees with zero. (math-verify rounds to six decimals, so it takes all numbers
  under 5e-7 for equal.)
- If gold answer and answer both write a number base, it is the same: `11_2` is not `11_3`.
- A percent sign has a reason: the gold answer has one, or is the same share (`25\%` for `\frac14`), or the question speaks of percent
  (`4\%` for `4`). `400\%` is never correct for `4`.
- No equation in the answer is false: `2+3=5` is correct for 5, `6=5` is not.
- Two numbers side by side, a negation, a number followed by dots and a division by zero are not numbers. They are compared as text.
- If the gold answer is a number with a letter (`4m`), the answer has the same letter.
- A set in braces matches a set or a list. It does not match a pair or an interval.

Some forms are read that math-verify cannot read: bold commands, `\binom52`, and the imaginary unit written as a root or an exponential.

All expressions are sympy objects from math-verify's parser; no text is evaluated. The worker limits time and memory.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from latex2sympy2_extended.logic import And
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
from math_verify.grader import get_pct_val, is_equation, unwrap_fcs
from sympy import Basic, Eq, Expr, FiniteSet, Float, I, Interval, MatrixBase, MatrixExpr, Rational, Set, Symbol, Tuple, Union, nan, zoo
from sympy.core.relational import Relational

RELATIVE_ERROR = 1e-6
# The two sides of an equation between numbers may differ by rounding, as in 1/3 = 0.333.
ROUNDING = 1e-2
IDENTICAL = 1e-20  # relative error to which two complex numbers are the same
DIGITS = 30
# Two expressions in unknowns are compared at points of these magnitudes; next to tiny values even a small constant counts.
SCALES = (Rational(1), Rational(1, 10**40))

_BOLD = re.compile(r"\\(?:boldsymbol|bm|pmb)(?=\s*\{)")
_BOLD_NUMBER = re.compile(r"\\(?:mathbf|textbf|mathrm)\s*\{([^{}a-zA-Z\\]*)\}")
_ROMAN = re.compile(r"\\mathrm\s*(?:\{\s*([ei])\s*\}|([ei])(?![a-zA-Z]))")
# Groups of three digits, as in "12 000". Other numbers side by side are refused: math-verify multiplies them and reads "1 2" as 2.
_GROUPS = re.compile(r"(?<![0-9.])[1-9][0-9]{0,2}(?:(?:\s|~|\\[ ,;:])+[0-9]{3})+(?![0-9])")
_SIDE_BY_SIDE = re.compile(r"[0-9](?:\s|~|\\[ ,;:!])+[0-9]")
# math-verify reads "not 4" and "4..." as 4.
_NO_NUMBER = re.compile(r"\\(?:neg|lnot|not)(?![a-zA-Z])|[0-9]\s*(?:\\[lc]?dots|\.\.)")
# math-verify takes a letter after a number for a unit. In a gold answer it may be an unknown, so the answer must have it too.
_LETTER = re.compile(r"-?[0-9][0-9.,/]*\s*([a-hj-zA-Z])")
_EQUALS = re.compile(r"(?<![\\<>!:])=")
_BINOMIAL = re.compile(r"\\[dt]?binom\s*(\{[^{}]*\}|[0-9])\s*(\{[^{}]*\}|[0-9])")
# math-verify does not read a number that a full stop follows, as in "\boxed{104.}".
_FULL_STOP = re.compile(r"(?<=[0-9)}$])\.$")
_BASE = re.compile(r"(?<![A-Za-z0-9_{^])\(?([0-9][0-9A-Fa-f]*)\)?\s*_\s*(?:\{\s*(?:\\(?:text|mathrm)\s*\{)?\s*(\w+)\s*\}?\s*\}|([0-9]+))")
_BASE_WORDS = [
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
]
_BRACED = re.compile(r"(?:\\left\s*)?\\(?:\{|lbrace).*\\(?:\}|rbrace)", re.DOTALL)
_CONFIG = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]


@dataclass(frozen=True)
class Reading:
    """An answer as math-verify read it.

    text: the rewritten answer, with single blanks. values: sympy objects, and the normalised text where math-verify returns one. bases: the
    number bases written in it. braced: whether it is a set in braces. letter: of an answer that is a number and a letter (`4m`).
    """

    text: str
    values: tuple[Any, ...]
    bases: frozenset[str]
    braced: bool
    letter: str


def read(text: str) -> Reading:
    """Read an answer with math-verify. It is put in a box, so that all of it is read and nothing else.

    math-verify parses LaTeX with a grammar. Where that fails it tries plain expressions; of these, sympy only gets strings of digits, spaces
    and the operators + - * / ^ ( ).
    """
    text = _FULL_STOP.sub("", text.strip())
    text = _ROMAN.sub(r"{\1\2}", _BOLD_NUMBER.sub(r"{\1}", _BOLD.sub("", text)))
    text = _GROUPS.sub(lambda match: re.sub(r"[^0-9]", "", match[0]), text)
    text = _BINOMIAL.sub(lambda match: rf"\binom{{{match[1].strip('{}')}}}{{{match[2].strip('{}')}}}", text)
    bases = frozenset(_base(match[2] or match[3]) for match in _BASE.finditer(text))
    no_number = any(not _is_numeral(match[1], _base(match[2] or match[3])) for match in _BASE.finditer(text))
    text = _BASE.sub(r"\1", text)
    no_number = no_number or _NO_NUMBER.search(text) is not None or _SIDE_BY_SIDE.search(re.sub(r",\s*(?:\\!\s*)+", "", text)) is not None
    found = _parse(text)
    if text.count("=") > 1 and not any(isinstance(value, And | Relational) for value in found):
        # If a chain of equations repeats a number, math-verify keeps one side only (4 of "4=5=4").
        sides = [number for side in _EQUALS.split(text) for one in _parse(side)[:1] if (number := value(one)) is not None]
        no_number = no_number or not all(close(sides[0], side, ROUNDING) for side in sides[1:])
    # An answer without values is compared as text. The full text is used, since math-verify's own may be cut short.
    values = () if no_number else tuple(x for x in found if (_balanced(x) if isinstance(x, str) else not x.has(nan, zoo)))
    braced = _BRACED.fullmatch(text.strip("$ \n")) is not None
    letter = _LETTER.fullmatch(text.strip("$ \n"))
    return Reading(" ".join(text.split()), values, bases, braced, letter[1] if letter else "")


def _parse(text: str) -> list[Any]:
    return list(parse(f"\\boxed{{{text}}}", extraction_config=_CONFIG, parsing_timeout=None))


def _is_numeral(digits: str, base: str) -> bool:
    try:
        return 2 <= int(base) <= 36 and int(digits, int(base)) >= 0
    except ValueError:
        return False


def _balanced(text: str) -> bool:
    """Whether the braces are balanced. They are not in texts that math-verify cut short."""
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def _base(name: str) -> str:
    return str(_BASE_WORDS.index(name.lower()) + 2) if name.lower() in _BASE_WORDS else name


def correct(gold: Reading, answer: Reading, percent: bool = False) -> bool:
    """Whether `answer` is correct. percent: whether the question speaks of percent.

    The order of the arguments matters: math-verify reads assignments and intervals in the way the gold answer writes them.
    """
    if gold.bases and answer.bases and gold.bases != answer.bases:
        return False
    if gold.letter and gold.letter != answer.letter:
        return False
    if not gold.values:
        return gold.text == answer.text
    return any(_pair(one, other, gold, answer, percent) for one in gold.values for other in answer.values)


def _pair(one: Any, other: Any, gold: Reading, answer: Reading, percent: bool) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return bool(verify(one, other, timeout_seconds=None))
    if not statement_holds(other) or _set_for_pair(one, other, gold.braced) or _set_for_pair(other, one, answer.braced):
        return False
    if verify(one, other, timeout_seconds=None):
        return agree(one, other, percent)
    return _same_complex_number(one, other)


def _set_for_pair(braced: Any, other: Any, has_braces: bool) -> bool:
    return has_braces and isinstance(braced, FiniteSet) and len(braced) > 1 and isinstance(other, Tuple | Interval)


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
    gold, answer = _right_side(gold), _right_side(answer)
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
        ours, theirs = _elements(gold, ordered), _elements(answer, ordered)
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
        found = next((index for index, other in enumerate(left) if _equal(element, other, percent)), None)
        if found is None:
            return False
        left.pop(found)
    return True


def _equal(gold: Any, answer: Any, percent: bool) -> bool:
    return _same(gold, answer) or bool(verify(gold, answer, timeout_seconds=None) and agree(gold, answer, percent))


def _is_collection(expression: Any) -> bool:
    return isinstance(expression, FiniteSet | Tuple | Interval | Union)


def _elements(expression: Any, ordered: bool) -> list[Any]:
    if isinstance(expression, Interval):
        return [expression.start, expression.end]
    if not _is_collection(expression):
        return [expression]
    # latex2sympy's finite sets keep the order in which they were written, and repeated elements.
    return list(getattr(expression, "_unsorted_args", expression.args) if ordered else expression.args)


def _right_side(expression: Any) -> Any:
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
    except (ArithmeticError, AttributeError, TypeError, ValueError, NotImplementedError):
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


def _same_complex_number(gold: Any, answer: Any) -> bool:
    """Whether both are the same complex number if the symbol i is the imaginary unit. math-verify takes i for a name."""
    if not (isinstance(gold, Expr) and isinstance(answer, Expr)) or isinstance(gold, Basic) is not isinstance(answer, Basic):
        return False
    symbols = gold.free_symbols | answer.free_symbols
    if any(symbol.name != "i" for symbol in symbols):
        return False
    unit = {symbol: I for symbol in symbols}
    one, other = value(gold, unit), value(answer, unit)
    if one is None or other is None or one.is_real:
        return False
    return close(one, other, IDENTICAL)
