r"""The grading rules that this project adds to math-verify's. Only the grading worker loads this module.

An answer that math-verify passes is correct only if all of these hold:

- Numbers agree to a relative error of 1e-6, and zero only agrees with zero (`agreement`).
- If gold answer and answer both write a number base, it is the same: `11_2` is not `11_3`.
- A percent sign has a reason: the gold answer has one, or is the same share (`25\%` for `\frac14`), or the question speaks of percent
  (`4\%` for `4`). `400\%` is never correct for `4`.
- No equation in the answer is false: `2+3=5` is correct for 5, `6=5` is not.
- What is no number is compared as text (`reading`).
- If the gold answer ends with a letter, this is an unknown, which the answer has too: `4m` is not 4.
- A set in braces matches a set or a list. It does not match a pair or an interval.
- `x=2, y=3` matches a list or pair in this order.
- `2:4:6` is the ratio `1:2:3`, but no quotient is. A time of day has no such factor: `3:30` is not `1:10`.
- Two words are compared as text, in any case. math-verify takes words for products of their letters.

An answer that shows the same as the gold answer is always correct. Some forms are read that math-verify cannot read (`spelling`), and the
imaginary unit is read as a root or an exponential.

All expressions are sympy objects from math-verify's parser; no text is evaluated. The worker limits time and memory.
"""

import re
from typing import Any

from math_verify import verify
from sympy import Basic, Eq, Expr, FiniteSet, I, Interval, Tuple, gcd

from .agreement import agree, close, elements, equal, statement_holds, value
from .reading import Ratio, Reading

IDENTICAL = 1e-20  # relative error to which two complex numbers are the same
# Such a word is no word but a product of unknowns: "ab" is "ba", but "no" is not "on".
_PRODUCT = re.compile(r"[a-df-hj-np-tv-z]{2,3}")


def correct(gold: Reading, answer: Reading, percent: bool = False) -> bool:
    """Whether `answer` is correct. percent: whether the question speaks of percent.

    The order of the arguments matters: math-verify reads assignments and intervals in the way the gold answer writes them.
    """
    if gold.shown == answer.shown:
        return True
    if gold.bases and answer.bases and gold.bases != answer.bases:
        return False
    if gold.letter and gold.letter not in re.sub(r"\\[a-zA-Z]+", "", answer.text):
        return False  # math-verify ignores case
    if gold.word and answer.word and not _may_be_product(gold.word, answer.word):
        return gold.word[0].lower() == answer.word[0].lower()
    if gold.ratio and answer.ratio:
        return _same_ratio(gold.ratio, answer.ratio, percent)
    if any(ratio and not _is_quotient(ratio) for ratio in (gold.ratio, answer.ratio)):
        return False
    if not gold.values:
        return gold.text == answer.text
    # A gold answer "6 million" names the unit, so that 6 is correct too.
    ours = gold.values if answer.without_magnitude else gold.values + gold.without_magnitude
    return any(_pair(one, other, gold, answer, percent) for one in ours for other in answer.values + answer.without_unit)


def _may_be_product(gold: tuple[str, bool], answer: tuple[str, bool]) -> bool:
    return all(_PRODUCT.fullmatch(word) and not in_text for word, in_text in (gold, answer))


def _is_quotient(ratio: Ratio) -> bool:
    """Whether it may be the quotient of its parts: not one of three parts, nor a time of day that is no ratio in lowest terms."""
    return len(ratio.parts) == 2 and (not ratio.clock or bool(gcd(*ratio.parts) == 1)) and not ratio.half_day


def _same_ratio(gold: Ratio, answer: Ratio, percent: bool) -> bool:
    """Whether two ratios are the same up to a factor. A gold answer that may be a time of day has none."""
    if len(gold.parts) != len(answer.parts) or (gold.half_day and answer.half_day and gold.half_day != answer.half_day):
        return False
    pairs = list(zip(gold.parts, answer.parts, strict=True))
    if gold.clock or all(_zero(part) for part in gold.parts):
        return all(equal(ours, theirs, percent) for ours, theirs in pairs)
    ours, theirs = next(pair for pair in pairs if not _zero(pair[0]))
    return not _zero(theirs) and all(equal(one * theirs, other * ours, percent) for one, other in pairs)


def _zero(part: Any) -> bool:
    return bool(equal(0 * part, part, False))


def _pair(one: Any, other: Any, gold: Reading, answer: Reading, percent: bool) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return bool(verify(one, other, timeout_seconds=None))
    if not statement_holds(other) or _set_for_pair(one, other, gold.braced) or _set_for_pair(other, one, answer.braced):
        return False
    if _named(one) and isinstance(other, FiniteSet | Tuple | Interval) and not any(isinstance(x, Eq) for x in other.args):
        return _in_order(one, other, percent)
    if verify(one, other, timeout_seconds=None):
        return agree(one, other, percent)
    return _same_complex_number(one, other)


def _named(expression: Any) -> bool:
    """Whether it gives values to two or more different names, as `x=2, y=3` does."""
    sides = elements(expression, ordered=True) if isinstance(expression, FiniteSet) else []
    names = [side.lhs for side in sides if isinstance(side, Eq)]
    return len(names) == len(sides) == len(set(names)) > 1


def _in_order(gold: Any, answer: Any, percent: bool) -> bool:
    """Whether a list or pair without names gives the values of `x=2, y=3` in that order."""
    if isinstance(answer, Interval) and not answer.is_open:
        return False
    ours, theirs = ([*elements(side, ordered=True)] for side in (gold, answer))
    return len(ours) == len(theirs) and all(equal(one.rhs, other, percent) for one, other in zip(ours, theirs, strict=True))


def _set_for_pair(braced: Any, other: Any, has_braces: bool) -> bool:
    return has_braces and isinstance(braced, FiniteSet) and len(braced) > 1 and isinstance(other, Tuple | Interval)


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
