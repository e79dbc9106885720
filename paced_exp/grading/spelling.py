r"""LaTeX that math-verify reads as nothing or as another number, respelled so that it reads the same thing as a person. Only text; no sympy.

- Bold commands, `\binom52`, `\frac 1 2`, `\frac x 2`, `\log_2 8`, `\lg 10`, `\sqrt[3]2` and `\varnothing`; `~` as a blank, `{:}` as a colon.
- `\mathrm{e}` and `\mathrm{i}`; a number that is all of a `\text{...}`; groups of digits, as in "12 000"; a full stop at the end.
- A number before a fraction in brackets, which is a product.
- Words for a magnitude after a number: `6\text{ million}` is 6 times 10^6.
- The sine and so on of a number of degrees; repeating decimals, as fractions.

Each function takes time in proportion to the length of a text of at most 1,000 characters, or to its square.
"""

import re
from fractions import Fraction

_TEXT = r"\\(?:text(?:bf|it|rm|normal)?|math(?:rm|bf|it)|mbox)"
_BLANK = r"(?:\s|~|\\[ ,;:!])"

# A tie at the start is left: "~6" means about 6, and math-verify reads "~=" as such.
_TIE = re.compile(r"(?<=[^\s\\])~+(?!=)")
_DEGREE = re.compile(r"\^\s*\{\s*(?:\\degree|°)\s*\}|(?:\^\s*)?(?:\\degree(?![a-zA-Z])|°)")
_COLON = re.compile(r"\{\s*:\s*\}|\\math(?:rel|bin|punct)\s*\{\s*:\s*\}|\\colon(?![a-zA-Z])")
_EMPTY = re.compile(r"\\varnothing(?![a-zA-Z])")
# math-verify does not read a number that a full stop follows, as in "\boxed{104.}".
_FULL_STOP = re.compile(r"(?<=[0-9a-zA-Z)}\]$])\.$")
_BOLD = re.compile(r"\\(?:boldsymbol|bm|pmb)(?=\s*\{)")
_BOLD_NUMBER = re.compile(r"\\(?:mathbf|textbf|mathrm)\s*\{([^{}a-zA-Z\\]*)\}")
_THOUSANDS = re.compile(r"\s*-?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?\s*")
_ROMAN = re.compile(r"\\mathrm\s*(?:\{\s*([ei])\s*\}|([ei])(?![a-zA-Z]))")
# Groups of three digits, as in "12 000". Other numbers side by side are refused: math-verify multiplies them and reads "1 2" as 2.
_GROUPS = re.compile(rf"(?<![0-9.])[1-9][0-9]{{0,2}}(?:{_BLANK}+[0-9]{{3}})+(?![0-9])")
_TWO_ARGUMENTS = re.compile(r"\\(?:[dtc]?(frac)|[dt]?(binom))(?![a-zA-Z])")
_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho sigma tau phi varphi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_LETTER_OR_DIGIT = re.compile(rf"[a-zA-Z0-9]|\\(?:{'|'.join(_GREEK.split())})(?![a-zA-Z])")
_LOG_BASE = re.compile(r"\\log\s*_\s*([0-9])(?=\s+[0-9])")
_LOG_TEN = re.compile(r"\\lg(?![a-zA-Z])\s*")
_ROOT_INDEX = re.compile(r"\\sqrt\s*(\[[^\[\]{}]*\])\s*([0-9a-zA-Z])")
_MAGNITUDES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MAGNITUDE = rf"(?:{'|'.join(_MAGNITUDES)})s?(?![a-zA-Z])"
_TEXT_NUMBER = re.compile(rf"{_TEXT}\s*\{{\s*(-?[0-9][0-9,.:\s]*)((?:{_MAGNITUDE}\s*)*)\}}", re.IGNORECASE)
_GROUPED_WITH_MAGNITUDE = re.compile(
    rf"(?<![0-9.,}}])[0-9]{{1,3}}(?:(?:,|\{{,\}})[0-9]{{3}})+(?={_BLANK}*(?:{_TEXT}\s*\{{\s*)?{_MAGNITUDE})", re.IGNORECASE
)
_NUMBER_WITH_MAGNITUDE = re.compile(
    rf"(?<=[0-9}}$]){_BLANK}*(?:({_TEXT}\s*\{{)\s*)?({_MAGNITUDE}(?:\s+{_MAGNITUDE})*|(?(1)(?-i:k)(?=\s*\}})|(?!)))", re.IGNORECASE
)
# math-verify reads "2(1/2)" as the mixed number 2 1/2.
_PRODUCT = re.compile(r"(?<![\w.^])(?<![_^]\s)([0-9]+(?:\.[0-9]+)?)\s*(?=(?:\\left\s*)?\(\s*(?:\\[dtc]?frac(?![a-zA-Z])|[0-9]+\s*/))")
_DEGREES = r"(-?[0-9]+(?:\.[0-9]+)?)\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))"
_TRIGONOMETRIC = r"(\\(?:sin|cos|tan|cot|sec|csc)\s*(?:\^\s*(?:[0-9]|\{\s*[0-9]+\s*\})\s*)?)"
_IN_DEGREES = [
    re.compile(rf"{_TRIGONOMETRIC}(?:\\left\s*)?\(\s*{_DEGREES}\s*(?:\\right\s*)?\)"),
    re.compile(rf"{_TRIGONOMETRIC}\{{\s*{_DEGREES}\s*\}}"),
    re.compile(rf"{_TRIGONOMETRIC}{_DEGREES}"),
]
_REPEATING = re.compile(
    r"(?<![0-9.,])([0-9]{0,30})\.([0-9]{0,30})\\(?:overline|bar|dot)\s*(?:\{\s*([0-9]{1,30})\s*\}|([0-9]))(?![0-9]|\s*\\(?:overline|bar|dot)(?![a-zA-Z]))"
)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_WRAPPED = re.compile(rf"{_TEXT}\s*\{{([^{{}}]*)\}}")


def respelled(text: str) -> str:
    """An answer in a spelling that math-verify reads. Numbers side by side stay so, for the caller to refuse."""
    text = _FULL_STOP.sub("", _TIE.sub(" ", text.strip()).strip())
    text = _COLON.sub(":", _EMPTY.sub(r"\\emptyset ", _DEGREE.sub(r"^\\circ ", text)))
    text = _ROMAN.sub(r"{\1\2}", _BOLD_NUMBER.sub(lambda match: f"{{{_without_thousands(match[1])}}}", _BOLD.sub("", text)))
    if number := _TEXT_NUMBER.fullmatch(text.strip("$ \n")):
        text = f"{_without_thousands(number[1]).strip()} {number[2]}".strip()
    text = _GROUPS.sub(lambda match: re.sub(r"[^0-9]", "", match[0]), text)
    text = _LOG_BASE.sub(r"\\log_{\1}", _with_braces(text))
    text = _LOG_TEN.sub(r"\\log_{10} ", text)
    text = _ROOT_INDEX.sub(r"\\sqrt\1{\2}", text)
    text = _PRODUCT.sub(r"\1\\cdot ", text)
    for pattern in _IN_DEGREES:
        text = pattern.sub(lambda match: rf"{match[1]}({_latex(Fraction(match[2]) / 180)}\pi)", text)
    return text


def _without_thousands(number: str) -> str:
    return number.replace(",", "") if _THOUSANDS.fullmatch(number) else number


def _latex(number: Fraction) -> str:
    return rf"\frac{{{number.numerator}}}{{{number.denominator}}}"


def _with_braces(text: str) -> str:
    r"""The text with both arguments of every `\frac` and `\binom` in braces.

    Left as it is: a command whose second argument is a digit that other digits follow, as in `\frac123`. LaTeX ends the fraction after the 2,
    but its author means something else.
    """
    # From the last one to the first, so that the arguments of an outer fraction are rewritten already.
    for command in reversed(list(_TWO_ARGUMENTS.finditer(text))):
        first = _argument(text, command.end())
        second = _argument(text, first[1]) if first else None
        if first and second:
            rest = text[second[1] :]
            if text[second[1] - 1].isdigit() and re.match(r"\.?[0-9]|\s+[0-9]", rest):
                continue
            text = f"{text[: command.start()]}\\{command[1] or command[2]}{{{first[0]}}}{{{second[0]}}}{rest}"
    return text


def _argument(text: str, start: int) -> tuple[str, int] | None:
    """The argument of a command that begins at `start`, and where it ends: a group in braces, a digit, a letter or a Greek letter."""
    while start < len(text) and text[start].isspace():
        start += 1
    if match := _LETTER_OR_DIGIT.match(text, start):
        return match[0], match.end()
    depth = 0
    for brace in _BRACE.finditer(text, start):
        if depth == 0 and brace.start() != start:
            return None
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return (text[start + 1 : brace.start()], brace.end()) if brace[0] == "}" else None
    return None


def with_magnitudes(text: str) -> tuple[str, str]:
    r"""The text with words for magnitudes after a number as factors, and the text without these words. They are equal if there are none."""

    def factor(match: re.Match[str]) -> str:
        product = 1
        for word in match[2].lower().split():
            product *= 1000 if word == "k" else _MAGNITUDES[word.removesuffix("s")]
        return rf"\cdot {product}{match[1] or ' '}"

    text = _GROUPED_WITH_MAGNITUDE.sub(lambda match: re.sub(r"[^0-9]", "", match[0]), text)
    return _NUMBER_WITH_MAGNITUDE.sub(factor, text), _NUMBER_WITH_MAGNITUDE.sub(lambda match: match[1] or " ", text)


def with_fractions(text: str) -> str:
    r"""The text with repeating decimals as fractions: `0.3\overline{6}` is 11/30."""

    def fraction(match: re.Match[str]) -> str:
        whole, fixed, repeated = match[1], match[2], match[3] or match[4]
        nines = 10 ** len(repeated) - 1
        return _latex(Fraction(int((whole + fixed) or "0") * nines + int(repeated), nines * 10 ** len(fixed)))

    return _REPEATING.sub(fraction, text)


def plain(text: str) -> str:
    r"""What the text shows: without `\text{...}` around its words, dollar signs, blanks that make no difference, and a full stop at the end.

    Texts of several words are in lower case. Two answers that show the same are the same.
    """
    text = _TIE.sub(" ", _WRAPPED.sub(r"\1", text.replace("$", "").strip()))
    text = re.sub(r"(?<=[0-9]) (?=[A-Za-z])", "", re.sub(r"(?:\s|\\[ ,;:]|\\q?quad(?![a-zA-Z]))+", " ", text.replace(r"\!", ""))).strip()
    text = _FULL_STOP.sub("", text)
    return text.lower() if re.search(r"(?<![a-zA-Z\\])[a-zA-Z]{3,} ", text + " ") and " " in text else text
