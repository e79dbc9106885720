r"""The final answer of a response: the content of its last balanced `\boxed{...}`, or the list of its last boxes. The text is not parsed."""

import re

# The longest gold answer of MATH-500 has 53 characters.
MAX_ANSWER_CHARS = 1_000


_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)


# Between two boxes of one answer: "and", "or" or a comma, with white space, dollar signs and spacing commands around, and perhaps
# "y =" before the next box; or nothing but blanks. If they are more characters apart than this, only the last box is the answer.
MAX_GAP_CHARS = 60


_BLANK = r"(?:[\s$*]|\\[,;:!()\[\] ]|\\q?quad(?![a-zA-Z]))*+"


_WORD = r"(?:and|or)(?![a-zA-Z])"


_CONNECTOR = rf"(?:[,;&]|{_WORD}|\\text\s*\{{\s*(?:,\s*)?{_WORD}\s*\}})"


_NAME = r"[a-zA-Z](?:_(?:\w|\{\w+\}))?'*\s*="


_GAP = re.compile(rf"[ $]*+(?:(?:{_BLANK}{_CONNECTOR})++{_BLANK}(?:{_NAME}{_BLANK})?)?\\boxed\s*\{{", re.DOTALL)


_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def extract_boxed(text: str) -> str | None:
    r"""Content of the last `\boxed{...}` whose braces balance, stripped; None without one. Linear in the length of `text`.

    The last box is the one that opens last. So a box left open by truncation is ignored, and a nested box wins over the one around it.
    `\{` and `\}` are characters, not braces.
    """
    boxes = _boxes(text)
    return _content(text, *boxes[-1]) if boxes else None


def extract_answer(text: str) -> str | None:
    r"""The last box, or the list of the last boxes if they are parts of one answer; None without a box. Linear in the length of `text`.

    Boxes are parts of one answer when nothing stands between them but blanks on one line, or "and", "or", commas and "y =", as in
    `$\boxed{2}$ and $\boxed{3}$`, read as `2, 3`. A repeated part counts once. So a response that guesses several answers is graded on
    all of them, and not on the last.
    """
    boxes = _boxes(text)
    if not boxes:
        return None
    parts = [boxes[-1]]
    for start, end in reversed(boxes[:-1]):
        following = parts[-1][0]
        if end >= following or following - end > MAX_GAP_CHARS or not _GAP.fullmatch(text, end + 1, following):
            break
        parts.append((start, end))
    return ", ".join(dict.fromkeys(_content(text, *part) for part in reversed(parts)))


def _content(text: str, start: int, end: int) -> str:
    # Control characters that count as white space are kept, since `final_answer` checks for them.
    return re.sub(r"^[^\S\x1c-\x1f]+|[^\S\x1c-\x1f]+$", "", text[start:end])


def _boxes(text: str) -> list[tuple[int, int]]:
    """The start and end of the content of every balanced box, in the order of starts."""
    open_braces: list[tuple[int, bool]] = []
    found = []
    for match in _BRACES.finditer(text):
        if match.group() == "{":
            open_braces.append((match.end(), _follows_boxed(text, match.start())))
        elif match.group() == "}" and open_braces:
            opened, boxed = open_braces.pop()
            if boxed:
                found.append((opened, match.start()))
    return sorted(found)


def _follows_boxed(text: str, brace: int) -> bool:
    while brace > 0 and text[brace - 1].isspace():
        brace -= 1
    return text.endswith("\\boxed", 0, brace)


def final_answer(response: str) -> str | None:
    """The final answer for the graders, or None if the response fails whatever the gold answer is."""
    if "\x00" in response:
        return None
    try:
        response.encode()
    except UnicodeEncodeError:
        return None
    answer = extract_answer(response)
    return answer if answer and len(answer) <= MAX_ANSWER_CHARS and not _CONTROL.search(answer) else None
