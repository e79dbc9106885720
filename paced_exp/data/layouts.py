r"""Functions that turn a row of a file or hub data set into a `Problem`, one for each published layout.

| layout | recognised by | data sets |
|---|---|---|
| `saved` | every field of `Problem` | what `save_problems` wrote |
| `dapo` | `reward_model` | BytedTsinghua-SIA/DAPO-Math-17k, open-r1/DAPO-Math-17k-Processed, verl's parquet files |
| `mmlu` | `choices` | cais/mmlu |
| `gsm8k` | `question`, and `####` in the first row's `answer` | openai/gsm8k |
| `plain` | anything else, or `columns` given | MATH-500, AIME 2024 and 2025, your own files |
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, get_args

from paced_exp.data.answers import MAX_ANSWER_CHARS, extract_boxed
from paced_exp.data.problem import GraderName, Problem

Row = Mapping[str, Any]

# Columns that the plain layout looks for, first match first, when none is mapped.
PLAIN_COLUMNS = {
    "id": ("id", "ID", "unique_id"),
    "prompt": ("prompt", "problem", "question", "Problem", "Question"),
    "answer": ("answer", "Answer"),
    "solution": ("solution", "Solution"),
    "grader": ("grader",),
}
DAPO_INSTRUCTION = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer "
    "(without quotes) where $Answer is the answer to the problem.\n\n"
)
DAPO_REMINDER = '\n\nRemember to put your answer on its own line after "Answer:".'
MMLU_INSTRUCTION = "Answer with the letter of the correct choice in \\boxed{}."
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class RowError(ValueError):
    """What is wrong with a row. The reader adds the row's position."""


@dataclass(frozen=True)
class Origin:
    """The origin of a row: the id for rows without one, and the source and split of the problem."""

    id: str
    source: str
    split: str


def plain(row: Row, origin: Origin, columns: Mapping[str, str] | None = None) -> Problem:
    """A row with a question and a short answer. columns: maps fields of `Problem` to columns, instead of the usual names (`PLAIN_COLUMNS`)."""
    names = plain_columns(row, columns or {})
    answer = _answer(row[names["answer"]])
    if "####" in answer:
        raise RowError("the answer holds a GSM8K solution ('#### '), but the columns are not GSM8K's question and answer; split it")
    grader: Any = row[names["grader"]] if "grader" in names else "math"
    if grader not in ("math", "exact"):
        raise RowError(f"grader is {grader!r}; allowed: math, exact")
    used = set(names.values())
    return Problem(
        id=_identifier(row[names["id"]] if "id" in names else None, origin),
        prompt=_text(row, names["prompt"], "prompt"),
        answer=answer,
        solution=_solution(row.get(names.get("solution", "")), answer),
        source=origin.source,
        split=origin.split,
        grader=grader,
        metadata={name: value for name, value in row.items() if name not in used and isinstance(value, str | int | float | bool)},
    )


def plain_columns(row: Row, columns: Mapping[str, str]) -> dict[str, str]:
    """The column of `row` for each field of `Problem`. Raises `RowError` if a mapped or needed column is missing."""
    for name, column in columns.items():
        if name not in PLAIN_COLUMNS:
            raise RowError(f"`columns` maps {name!r}, which is no field of a problem; allowed: {', '.join(PLAIN_COLUMNS)}")
        if column not in row:
            raise RowError(f"no column {column!r} (mapped to {name}); there are: {', '.join(row)}")
    found = {}
    for name, usual in PLAIN_COLUMNS.items():
        candidates = (columns[name],) if name in columns else usual
        present = [column for column in candidates if column in row]
        if present:
            found[name] = present[0]
        elif name in ("prompt", "answer"):
            raise RowError(f"no column for the {name}; there are: {', '.join(row)}; name it with `columns` {name}=COLUMN")
    return found


def gsm8k(row: Row, origin: Origin) -> Problem:
    """GSM8K: the gold answer follows `####` (thousands commas are removed), and `<<...>>` calculator annotations are dropped from the solution."""
    steps, mark, answer = _text(row, "answer", "answer").rpartition("####")
    answer = answer.strip().replace(",", "")
    if not mark or not answer:
        raise RowError("the answer has nothing after '####', where GSM8K gives the gold answer")
    solution = re.sub(r"<<[^<>]*>>", "", steps).strip()
    return _problem(row.get("id"), origin, _text(row, "question", "prompt"), _answer(answer), solution)


def mapped(row: Row, columns: Mapping[str, str]) -> Callable[[Row, Origin], Problem]:
    """The layout of a file or data set whose columns the user names: GSM8K's if the first row's answer contains its solution, else plain.

    If the user names a solution column, the layout is plain, since GSM8K has the solution in the answer's column.
    """
    names = plain_columns(row, columns)
    if "solution" in columns or "####" not in str(row[names["answer"]]):
        return lambda row, origin: plain(row, origin, columns)

    def renamed(row: Row, origin: Origin) -> Problem:
        found = plain_columns(row, columns)
        identifier = row[found["id"]] if "id" in found else None
        return gsm8k({"question": row[found["prompt"]], "answer": row[found["answer"]], "id": identifier}, origin)

    return renamed


def mmlu(row: Row, origin: Origin) -> Problem:
    """MMLU: a prompt that lists lettered choices. `answer` is the number, from 0, of the correct letter. Graded by equality of the letter.

    The published rows have no ids; a column `id` is taken.
    """
    choices = row["choices"]
    if not isinstance(choices, list | tuple) or not 2 <= len(choices) <= len(LETTERS):
        raise RowError(f"choices is {choices!r}; it must list 2 to {len(LETTERS)} answers")
    number = row.get("answer")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(choices):
        raise RowError(f"answer is {number!r}; it must be the number of the correct choice, 0 to {len(choices) - 1}")
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return Problem(
        id=_identifier(row.get("id"), origin),
        prompt="\n".join([_text(row, "question", "prompt"), *lines, MMLU_INSTRUCTION]),
        answer=LETTERS[number],
        solution=None,
        source=origin.source,
        split=origin.split,
        grader="exact",
        metadata={"subject": row.get("subject") or row.get("type") or ""},
    )


def dapo(row: Row, origin: Origin) -> Problem:
    """DAPO-Math-17k: the gold answer is `reward_model["ground_truth"]`; the prompt, a chat message or text, loses its `Answer:` wrapper.

    These data have no worked solutions: the column `solution` of the processed variant only repeats the short answer.
    """
    prompt = row.get("prompt")
    if isinstance(prompt, list | tuple):
        if len(prompt) != 1 or not isinstance(prompt[0], Mapping):
            raise RowError("prompt must be text or a list of one chat message")
        prompt = prompt[0].get("content")
    text = _text({"prompt": prompt}, "prompt", "prompt").removeprefix(DAPO_INSTRUCTION).removesuffix(DAPO_REMINDER)
    rewards, extra = row["reward_model"], row.get("extra_info")
    answer = _answer(rewards.get("ground_truth") if isinstance(rewards, Mapping) else None)
    index = extra.get("index") if isinstance(extra, Mapping) else None
    return _problem(index, origin, text, answer, None)


def saved(row: Row, origin: Origin) -> Problem:
    """A row that `save_problems` wrote: every field of `Problem`, with metadata as JSON text."""
    if row["grader"] not in get_args(GraderName):
        raise RowError(f"grader is {row['grader']!r}; allowed: {', '.join(get_args(GraderName))}")
    try:
        metadata = json.loads(row["metadata"]) if isinstance(row["metadata"], str) else row["metadata"]
    except (ValueError, RecursionError) as error:
        raise RowError(f"metadata is not JSON: {error!s:.200}") from None
    if not isinstance(row["solution"], str | None):
        raise RowError(f"the solution is a {type(row['solution']).__name__}; it must be text or null")
    if not isinstance(metadata, dict) or (row["grader"] == "lab" and not {"family", "entry"} <= set(metadata)):
        raise RowError("metadata must be a JSON object, with family and entry where the grader is lab")
    return Problem(
        id=_text(row, "id", "id"),
        prompt=_text(row, "prompt", "prompt"),
        answer=_text(row, "answer", "answer"),
        solution=row["solution"],
        source=_text(row, "source", "source"),
        split=str(row["split"]),
        grader=row["grader"],
        metadata=metadata,
    )


def layout_of(row: Row) -> Callable[[Row, Origin], Problem]:
    """The layout of a file or data set, recognised by its first row."""
    if all(name.name in row for name in fields(Problem)):
        return saved
    if "reward_model" in row:
        return dapo
    if "choices" in row:
        return mmlu
    if "question" in row and "####" in str(row.get("answer")):
        return gsm8k
    return plain


def _problem(identifier: object, origin: Origin, prompt: str, answer: str, solution: str | None) -> Problem:
    return Problem(
        id=_identifier(identifier, origin),
        prompt=prompt,
        answer=answer,
        solution=_solution(solution, answer),
        source=origin.source,
        split=origin.split,
        grader="math",
    )


def _text(row: Row, column: str, name: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"no {name} (column {column!r} is {value!r})")
    return _unicode(value, name)


def _unicode(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RowError(f"the {name} is not valid Unicode text (it has a lone surrogate)") from None
    return text


def _identifier(value: object, origin: Origin) -> str:
    return origin.id if value in (None, "") else _unicode(str(value), "id")


def _answer(value: object) -> str:
    """The gold answer as text. Numbers are written without an exponent, since math-verify reads the e of 1e-7 as Euler's number."""
    if isinstance(value, float | Decimal) and math.isinf(value):
        raise RowError(
            "the answer is an infinite number (Infinity, or a number that is too large to read, such as 1e999); give a finite one, or text"
        )
    if value is None or (isinstance(value, float | Decimal) and math.isnan(value)) or (isinstance(value, str) and not value.strip()):
        raise RowError("no answer")
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise RowError(f"the answer is a {type(value).__name__}; it must be text or a number")
    text = _unicode(value.strip(), "answer") if isinstance(value, str) else f"{Decimal(str(value)):f}"
    if len(text) > MAX_ANSWER_CHARS:
        raise RowError(f"the answer has {len(text)} characters, over the {MAX_ANSWER_CHARS} that graders read; is it the right column?")
    return text


def _solution(value: object, answer: str) -> str | None:
    r"""The worked solution. The boxed answer is added if it is missing, since every response ends in `\boxed{...}`."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise RowError(f"the solution is a {type(value).__name__}; it must be text")
    solution = _unicode(value, "solution")
    return solution if extract_boxed(solution) is not None else f"{solution.rstrip()}\n\\boxed{{{answer}}}"
