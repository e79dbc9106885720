"""Records of cells: what is in one, its checksum, and reading it back with every doubt refused.

A record holds, for each evaluation source, how many samples of each problem were correct and how many tokens they had together, in the
order of the source's problems, and a hash of that order, so that two records are compared on the same problems or not at all.
"""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import checksum, read_object, write_atomically
from paced_exp.evaluation.metrics import pass_at_k
from paced_exp.reproduce.cells import Cell
from paced_exp.reproduce.checks import RESTORE, check_cell

FORMAT = 1
# Fields that the clock, the machine or the moment decide: two runs of a cell agree in all others.
CIRCUMSTANCES = ("seconds", "provenance", "checksum")
_FIELDS = {"kind", "format", "scale", "table", "row", "seed", "options", "command", "scores", "flops", "training", *CIRCUMSTANCES}


@dataclass(frozen=True)
class Record:
    """A record that has been checked against its cell. path: where it was read."""

    path: Path
    content: dict[str, Any]

    def problems(self, source: str) -> str:
        """Hash of the ids of the source's problems, in order."""
        return str(self.content["scores"][source]["problems"])

    def accuracy(self, source: str) -> np.ndarray:
        """Share of correct samples a problem, (P,)."""
        return self._correct[source] / float(self.content["scores"][source]["samples"])

    def pass_at(self, source: str, k: int) -> np.ndarray | None:
        """Unbiased estimate of pass@k a problem, (P,); None where a problem has fewer samples."""
        samples = int(self.content["scores"][source]["samples"])
        return pass_at_k(self._correct[source], samples, k) if k <= samples else None

    def tokens(self, source: str) -> np.ndarray:
        """Mean response length a problem, (P,), in tokens."""
        scores = self.content["scores"][source]
        return np.array(scores["tokens"]) / float(scores["samples"])

    @cached_property
    def _correct(self) -> dict[str, np.ndarray]:
        return {source: np.array(scores["correct"]) for source, scores in self.content["scores"].items()}

    @property
    def flops(self) -> float:
        """Floating-point operations of the run, pass-rate rollouts and teacher statistics included; sampling references and evaluation not."""
        return float(sum(self.content["flops"].values()))

    @property
    def seconds(self) -> float:
        """Seconds of the cell itself, without shared work."""
        return float(sum(self.content["seconds"].values()))


def without_circumstances(content: dict[str, Any]) -> dict[str, Any]:
    """What must come out the same when a cell is run again with the same seed on the same machine."""
    return {name: value for name, value in content.items() if name not in CIRCUMSTANCES}


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write a record with its checksum, atomically, a list of numbers on one line."""
    assert {*content, "checksum"} == _FIELDS, sorted({*content, "checksum"} ^ _FIELDS)
    write_sealed(path, content)


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """The same of a record of any kind."""
    text = json.dumps(content | {"checksum": checksum(content)}, indent=1, allow_nan=False)
    write_atomically(path, re.sub(r"\[[-\d.,\s]+\]", lambda numbers: re.sub(r"\s+", "", numbers[0]), text) + "\n")


def read_sealed(path: Path) -> dict[str, Any]:
    """The content of a record of any kind, which must carry the checksum of its content. Raises `UserError` where it does not."""
    if not path.exists():
        raise UserError(f"{path} does not exist; restore it from git, or run the command that makes it")
    return _sealed(path, read_object(path))


def _sealed(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    if "checksum" not in content:
        raise UserError(
            f"{path} carries no checksum; {RESTORE} (one that an older version wrote, and that you know to be whole: "
            f"python -m paced_exp.reproduce.seal {path})"
        )
    if content["checksum"] != checksum(content):
        raise UserError(f"{path} is damaged: its content does not match its checksum; {RESTORE}")
    return content


def read_record(path: Path) -> dict[str, Any]:
    """The content of a cell's record. Raises `UserError` naming a file that is damaged, incomplete or changed."""
    content = read_object(path)
    if content.get("kind") != "cell":
        raise UserError(f"{path} is no record of a cell; {RESTORE}")
    if lacking := sorted(_FIELDS - content.keys()):
        raise UserError(f"{path} is damaged: it lacks {', '.join(lacking)}; {RESTORE}")
    if content["format"] != FORMAT:
        raise UserError(f"{path} has format {content['format']}, this version reads {FORMAT}; {RESTORE}")
    return _sealed(path, content)


def readable(folder: Path) -> "Results":
    """The records under a folder that must be there. Raises `UserError` where it is not: a typing error would read as "nothing was run"."""
    if not folder.is_dir():
        raise UserError(f"`results` {folder} is not a folder; give the one that holds desk/, or run cells into it first")
    return Results(folder)


class Results:
    """The records under a folder. Nothing is cached between instances; within one, a record is read once."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._read: dict[Path, Record | None] = {}
        self._counts: dict[tuple[str, str], tuple[int, Path]] = {}  # problems of a source by the hash of their ids, and who says so

    def get(self, cell: Cell) -> Record | None:
        """The record of a cell, None where it was not run. Raises `UserError` for one that is damaged or of other options."""
        path = cell.path(self.folder)
        if path not in self._read:
            self._read[path] = self._checked(cell, path) if path.exists() else None
        return self._read[path]

    def _checked(self, cell: Cell, path: Path) -> Record:
        content = read_record(path)
        check_cell(path, content, cell)
        for source, scores in content["scores"].items():
            count, first = self._counts.setdefault((source, scores["problems"]), (len(scores["correct"]), path))
            if count != len(scores["correct"]):
                raise UserError(
                    f"{path} has {len(scores['correct'])} problems of {source} where {first} has {count} of the same; "
                    f"one of them is damaged: {RESTORE}"
                )
        return Record(path, content)

    def of(self, cells: list[Cell]) -> list[Record]:
        """The records there are of `cells`, in order."""
        return [record for record in (self.get(cell) for cell in cells) if record is not None]
