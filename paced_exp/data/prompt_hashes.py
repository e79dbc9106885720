"""Which prompts a file of pass rates or weights was made of, so that it is never joined to other problems of the same ids.

Rows are joined by problem_id. Problems without ids of their own are numbered (`readers`), so two files of the same name have the same ids. What a
run writes therefore has a column `prompt_hash`, which is checked where it is joined to problems. Files of earlier versions and counts of a user's
own have none, and are taken as they are.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.problem_tables import text_rows

if TYPE_CHECKING:
    import pandas as pd  # `paced weights` runs without it

PROMPT_HASH = "prompt_hash"
_DIGITS = 16  # of SHA-256: 64 bits, which tell a million prompts apart
_SHOWN = 5  # ids that a refusal lists


def prompt_hash(problem: Problem) -> str:
    """The start of the SHA-256 of the problem's prompt."""
    return f"sha256:{hashlib.sha256(problem.prompt.encode()).hexdigest()[:_DIGITS]}"


def stored_hashes(path: str | Path) -> dict[str, str]:
    """problem_id -> `prompt_hash` in a .jsonl, .csv or .parquet file, of the rows that have one. Raises `UserError` if it cannot be read."""
    path = Path(path)
    if path.suffix in (".jsonl", ".csv"):
        rows = [row for _, row in text_rows(path, ("problem_id",), optional=(PROMPT_HASH,))]
    else:
        from pyarrow import parquet  # imported here, since .jsonl and .csv must not need it

        from paced_exp.core.parquet import read_table

        if PROMPT_HASH not in parquet.read_schema(path).names:
            return {}
        rows = read_table(path, ("problem_id", PROMPT_HASH)).to_pylist()
    return {str(row["problem_id"]): str(row[PROMPT_HASH]) for row in rows if row[PROMPT_HASH] not in (None, "")}


def hashes_of(problems: Iterable[Problem]) -> dict[str, str]:
    """problem_id -> `prompt_hash` of these problems."""
    return {problem.id: prompt_hash(problem) for problem in problems}


def with_hashes(rates: "pd.DataFrame", hashes: Mapping[str, str]) -> "pd.DataFrame":
    """`rates`, a table with problem_id, and a column `prompt_hash` out of `hashes`."""
    return rates.assign(**{PROMPT_HASH: rates["problem_id"].map(hashes)})


def hash_column(path: str | Path, problem_id: Sequence[str]) -> dict[str, list[str | None]]:
    """The column `prompt_hash` of these problems for a file that is made of the one at `path`; no column if that has none.

    Raises `UserError` as `stored_hashes` does.
    """
    stored = stored_hashes(path)
    return {PROMPT_HASH: [stored.get(name) for name in problem_id]} if stored else {}


def check_prompts(path: str | Path, problems: Sequence[Problem], named: str) -> None:
    """Raise `UserError`, naming the ids, if the file at `path` was made of other prompts than those of `problems`.

    named: the file as the user gave it, for the error, such as "`pass_rates` runs/a/pass_rates.parquet".
    """
    stored = stored_hashes(path)
    differing = [problem.id for problem in problems if problem.id in stored and stored[problem.id] != prompt_hash(problem)]
    if differing:
        shown = ", ".join(map(repr, differing[:_SHOWN])) + (f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else "")
        raise UserError(
            f"{named} was made of other prompts under the same ids for {len(differing)} of the {len(problems)} problems: {shown}; give the "
            "problems that were counted, or count these with: python -m paced_exp.rollout (a column `id` of their own tells problems of "
            "different files apart)"
        )
