"""Problems as files: the published data sets beside the repository, rows of a layout, and files of them."""

import json
from pathlib import Path

import pytest

from paced_exp.data.layouts import DAPO_INSTRUCTION, DAPO_REMINDER, Origin

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ORIGIN = Origin("file-3", "file.jsonl", "file")


def shared(name: str) -> tuple[str, list[dict]]:
    """A data file beside the repository and its rows; the test is skipped where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the data file {name} is not beside the repository")
    return str(path), [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write(path: Path, rows: list) -> str:
    """A line for each row, which text is as it stands."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def rows(count: int) -> list[dict]:
    """Questions with numbers for answers."""
    return [{"id": f"r{number}", "question": f"What is {number}?", "answer": number} for number in range(count)]


DAPO_ROW = {
    "data_source": "math_dapo",
    "prompt": [{"role": "user", "content": f"{DAPO_INSTRUCTION}What is $17+17$?{DAPO_REMINDER}"}],
    "ability": "MATH",
    "reward_model": {"ground_truth": "34", "style": "rule-lighteval/MATH_v2"},
    "extra_info": {"index": "9a9b6eb4"},
}


def dapo_row(answer: str, prompt: str = "P") -> dict:
    """A row of DAPO-Math-17k in its plain form."""
    return DAPO_ROW | {"prompt": prompt, "reward_model": {"ground_truth": answer}, "extra_info": {"index": f"{prompt}{answer}"}}
