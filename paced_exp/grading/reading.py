r"""How an answer is read: its spelling is changed (`spelling`), and math-verify parses it. No text is evaluated.

Two numbers side by side, a negation, a bare inequality sign, a number followed by dots and a division by zero are not numbers. They are
compared as text. A letter at the end of an answer may be an unknown or a unit (`4m`), so it is read both ways.
"""

import re
from dataclasses import dataclass
from typing import Any

from latex2sympy2_extended.logic import And
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse
from sympy import Expr, nan, zoo
from sympy.core.relational import Relational

from .agreement import ROUNDING, close, right_side, value
from .spelling import plain, respelled, with_fractions, with_magnitudes

_SIDE_BY_SIDE = re.compile(r"[0-9](?:\s|~|\\[ ,;:!])+[0-9]")
# math-verify reads "not 4", "4...", "4, ..." and "< 4" as 4.
_NO_NUMBER = re.compile(
    r"\\(?:neg|lnot|not)(?![a-zA-Z])|[0-9](?:\s|~|,|\\[ ,;:!])*(?:\\[lc]?dots|\.\.|…)"
    r"|^[\s$]*(?:[<>]|\\(?:[lg](?:t|e|eq|eqslant)|ll|gg|neq?)(?![a-zA-Z]))"
)
_LETTER = re.compile(r"-?[0-9][0-9.,/]*\s*([a-hj-zA-Z])")
# math-verify drops these at the end of an answer, as units. Two letters such as "ab" or "a b" are none.
_UNIT_LETTER = re.compile(r"(?<=[0-9}\s])[cdghlmost]$")
_NO_UNIT = re.compile(r"(?<=[0-9}\s])(?:ab|bc|[a-hqs] [a-zA-Z])$")
_EQUALS = re.compile(r"(?<![\\<>!:])=")
_BASE = re.compile(r"(?<![A-Za-z0-9_{^])\(?([0-9][0-9A-Fa-f]*)\)?\s*_\s*(?:\{\s*(?:\\(?:text|mathrm)\s*\{)?\s*(\w+)\s*\}?\s*\}|([0-9]+))")
_NUMBER_WORDS = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_BASE_WORDS = {name: str(number) for number, name in enumerate(_NUMBER_WORDS.split(), start=2)}
_BRACED = re.compile(r"(?:\\left\s*)?\\(?:\{|lbrace).*\\(?:\}|rbrace)", re.DOTALL)
_WORD = re.compile(r"(\\(?:text(?:bf|it|rm|normal)?|math(?:rm|bf|it)|mbox)\s*\{)?\s*([a-zA-Z]{2,})\s*(?(1)\})")
_CONFIG = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]

MAX_PARTS = 8
_TEXT_AT_END = re.compile(r"\s*\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}$")
_HALF_DAY = re.compile(r"\s*(?<![a-zA-Z])([ap])\.?\s*m\.?\s*$", re.IGNORECASE)
_NO_PART = re.compile(r"[,;<>|]|\\(?:[{}]|text|in|to|ne|le|ge|mid|mapsto)(?![a-zA-Z])")


@dataclass(frozen=True)
class Ratio:
    """Numbers with colons between them. half_day: `a` or `p`, from a.m. and p.m.; otherwise empty.

    clock: whether it may be a time of day or a duration: at most 24, then groups of two digits below 60.
    """

    parts: tuple[Any, ...]
    clock: bool
    half_day: str


@dataclass(frozen=True)
class Reading:
    """An answer as math-verify read it.

    text: the rewritten answer, with single blanks. shown: what it shows, without commands for text. values: sympy objects, and the normalised
    text where math-verify returns one. without_unit: its values if a letter at its end is a unit; without_magnitude: without the word
    "million" and the like; both are empty without one. bases: the number bases written in it. braced: whether it is a set in braces.
    letter: of an answer that is a number and a letter (`4m`). word: of an answer that is one word of two or more letters, and whether it
    stands in `\\text{...}`. ratio: of an answer such as `2:3`.
    """

    text: str
    shown: str
    values: tuple[Any, ...]
    without_unit: tuple[Any, ...]
    without_magnitude: tuple[Any, ...]
    bases: frozenset[str]
    braced: bool
    letter: str
    word: tuple[str, bool] | None
    ratio: Ratio | None


def read(text: str) -> Reading:
    """Read an answer with math-verify. It is put in a box, so that all of it is read and nothing else.

    math-verify parses LaTeX with a grammar. Where that fails it tries plain expressions; of these, sympy only gets strings of digits, spaces
    and the operators + - * / ^ ( ).
    """
    shown = plain(text)
    text = respelled(text)
    bases = frozenset(_base(match[2] or match[3]) for match in _BASE.finditer(text))
    no_number = any(not _is_numeral(match[1], _base(match[2] or match[3])) for match in _BASE.finditer(text))
    text = _BASE.sub(r"\1", text)
    no_number = no_number or _NO_NUMBER.search(text) is not None or _SIDE_BY_SIDE.search(re.sub(r",\s*(?:\\!\s*)+", "", text)) is not None
    core = text.strip("$ \n")
    letter = _LETTER.fullmatch(core)
    word = _WORD.fullmatch(core)
    text, number = with_magnitudes(with_fractions(text))
    values: tuple[Any, ...] = ()
    without_unit: tuple[Any, ...] = ()
    # An answer without values is compared as text. The full text is used, since math-verify's own may be cut short.
    if not no_number:
        values = _values(text)
        if _UNIT_LETTER.search(core):
            without_unit = tuple(x for x in _values(text, unit=True) if not isinstance(x, str) and not _has_unknowns(right_side(x)))
    return Reading(
        text=" ".join(text.split()),
        shown=shown,
        values=values,
        without_unit=without_unit,
        without_magnitude=_values(number) if values and number != text else (),
        bases=bases,
        braced=_BRACED.fullmatch(core) is not None,
        letter=letter[1] if letter else "",
        word=(word[2], word[1] is not None) if word else None,
        ratio=_ratio(core),
    )


def _values(text: str, unit: bool = False) -> tuple[Any, ...]:
    """What math-verify reads. unit: whether it may take a letter at the end for a unit. Nothing if a chain of equations is false."""
    core = text.strip("$ \n")
    if _NO_UNIT.search(core) or (_UNIT_LETTER.search(core) and not unit):
        text = core + r"\,"  # a unit is only dropped at the very end
    found = _parse(text)
    if text.count("=") > 1 and not any(isinstance(one, And | Relational) for one in found):
        # If a chain of equations repeats a number, math-verify keeps one side only (4 of "4=5=4").
        sides = [number for side in _EQUALS.split(text) for one in _parse(side)[:1] if (number := value(one)) is not None]
        if not all(close(sides[0], side, ROUNDING) for side in sides[1:]):
            return ()
    return tuple(x for x in found if (_balanced(x) if isinstance(x, str) else not x.has(nan, zoo)))


def _parse(text: str) -> list[Any]:
    return list(parse(f"\\boxed{{{text}}}", extraction_config=_CONFIG, parsing_timeout=None))


def _has_unknowns(expression: Any) -> bool:
    return bool(getattr(expression, "free_symbols", None))


def _ratio(text: str) -> Ratio | None:
    """The ratio or time that a text is, after the last equals sign and without the text behind it; None if it is neither."""
    half_day = ""
    text = _EQUALS.split(text)[-1].strip()
    if ":" not in text or text.count(":") >= MAX_PARTS:
        return None
    if wrapped := _TEXT_AT_END.fullmatch(text):
        text = wrapped[1].strip()
    elif behind := _TEXT_AT_END.search(text):
        found = _HALF_DAY.fullmatch(behind[1])
        half_day = found[1].lower() if found else ""
        text = text[: behind.start()]
    if found := _HALF_DAY.search(text):
        half_day, text = found[1].lower(), text[: found.start()]
    text = re.sub(r"\\(?:left|right)(?=[()\[\]])", "", text).strip("$ ")
    if re.fullmatch(r"\([^()]*\)|\[[^\[\]]*\]", text):
        text = text[1:-1]
    written = [part.strip() for part in text.split(":")]
    if not all(written) or any(_NO_PART.search(part) or not _balanced(part) for part in written):
        return None
    parts = tuple(x for part in written for x in _parse(part)[:1] if isinstance(x, Expr) and not x.has(nan, zoo))
    if len(parts) != len(written):
        return None
    clock = re.fullmatch(r"[0-9]|[01][0-9]|2[0-4]", written[0]) is not None and all(
        re.fullmatch("[0-5][0-9]", part) for part in written[1:]
    )
    return Ratio(parts, clock, half_day)


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
    return _BASE_WORDS.get(name.lower(), name)
