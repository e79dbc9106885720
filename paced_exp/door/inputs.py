"""Models, problems and weights that are given as objects. They are written to files, since runs only read files.

The files lie in the folder OUT-inputs beside the run's folder OUT. Their names are made from a hash of their content, so that a call with the
same objects is the same run, and resumes it.
"""

import atexit
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.core.atomic import atomic_file
from paced_exp.core.errors import UserError
from paced_exp.data.layouts import PLAIN_COLUMNS
from paced_exp.data.problem import Problem
from paced_exp.data.problem_tables import write_rows
from paced_exp.data.sources import save_problems
from paced_exp.door.cells import ids_in, is_missing, numbers_in, refuse_missing_id
from paced_exp.door.problem_weights import ProblemWeights
from paced_exp.door.results import Distillation
from paced_exp.models.loading import LoadedModel
from paced_exp.models.saving import save_model


@cache
def _session() -> Path:
    """The folder of runs without an `out`. It is removed when this process ends, but not when one of its forks does."""
    folder, owner = Path(tempfile.mkdtemp(prefix="paced-")), os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    return folder


def folder_of(out: str | Path | None, verb: str) -> Path:
    """The folder of a run: `out`, or, if that is None, a temporary folder that exists until Python ends."""
    if out is not None:
        return Path(out)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(f"`out` must be given to paced.{verb} under a launcher of several processes, since all of them work in that folder")
    return Path(tempfile.mkdtemp(prefix=f"{verb}-", dir=_session())) / "run"


class Inputs:
    """Writes objects to files for the run in the folder `out`."""

    def __init__(self, out: Path) -> None:
        absolute = Path(os.path.abspath(out))
        self.folder = absolute.with_name(f"{absolute.name}-inputs")

    def model(self, name: str, given: Any) -> Any:
        """The lab:NAME, folder or hub id of a model. given: one of these, a distillation, (model, tokenizer), or a `LoadedModel`. name: of the argument."""
        if isinstance(given, Distillation):
            return given.model
        if isinstance(given, LoadedModel):
            given = given.model, given.tokenizer
        if isinstance(given, tuple | list) and len(given) == 2:
            model, tokenizer = given
            return str(save_model(model, tokenizer, self.folder, name))
        if hasattr(given, "save_pretrained"):
            raise UserError(f"`{name}` holds a {type(given).__name__} without its tokenizer; give (model, tokenizer)")
        return given

    def problems(self, given: Any, columns: Mapping[str, str] | None = None) -> Any:
        """The lab:SPLIT, file or hub:NAME of problems. given: one or several of these, a frame, or a list of `Problem` or of dicts.

        columns: the option of this name, which may name the column of ids. An empty cell, such as a frame's NaN, is written as null.
        Raises `UserError` for a row with an empty id: the reader would name it by its place, and a frame's NaN 'nan'.
        """
        if isinstance(given, str | Path):
            return given
        if hasattr(given, "to_dict") and hasattr(given, "columns"):
            given = given.to_dict("records")
        if isinstance(given, Mapping) or not isinstance(given, Iterable):
            raise UserError(f"`problems` is a {type(given).__name__}; give lab:SPLIT, a file, hub:NAME, or a list of Problem or of dicts")
        listed = list(given)
        if listed and all(isinstance(item, str | Path) for item in listed):
            return ",".join(map(str, listed))
        if listed and all(isinstance(item, Problem) for item in listed):
            rows = [dataclasses.asdict(item) for item in listed]
            return str(self._written("problems", ".parquet", rows, lambda path: save_problems(listed, path)))
        if listed and all(isinstance(item, Mapping) for item in listed):
            return str(self._written("problems", ".jsonl", _rows(listed, columns or {}), None))
        raise UserError("`problems` must hold at least one problem; its items must be all Problem, all dicts, or all names of sources")

    def weights(self, given: Any, ids: Callable[[], list[str]]) -> Any:
        """The file of weights. given: a file, the result of `paced.weights`, a frame, a mapping from problem_id, or one number for each problem.

        ids: loads the ids of the problems, in their order. It is called if `given` has none.
        Raises `UserError` for an empty id, and a weight that is negative, not finite or no number.
        """
        if isinstance(given, str | Path):
            return given
        if isinstance(given, ProblemWeights):
            columns = given.columns()
        elif hasattr(given, "columns"):
            if not {"problem_id", "weight"} <= set(given.columns):
                raise UserError(f"`weights` has the columns {', '.join(map(str, given.columns))}; it must have problem_id and weight")
            columns = {name: given[name].tolist() for name in ("problem_id", "weight")}
        elif isinstance(given, Mapping):
            columns = {"problem_id": list(given), "weight": list(given.values())}
        else:
            numbers = np.asarray(given, dtype=object)
            names = ids()
            if numbers.shape != (len(names),):
                raise UserError(
                    f"`weights` has the shape {numbers.shape}, but there are {len(names)} problems; give one number for each, or a frame"
                )
            columns = {"problem_id": names, "weight": numbers.tolist()}
        content = _weights(columns["problem_id"], columns["weight"])
        return str(self._written("weights", ".jsonl", content, lambda path: write_rows(path, content)))

    def _written(self, name: str, suffix: str, content: Any, write: Any) -> Path:
        """Write `content` to folder/NAME-HASH.SUFFIX and return that path. write: writes it; None writes a JSON line for each item."""
        try:
            text = json.dumps(content, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise UserError(f"`{name}` holds a value that JSON cannot hold ({error}); give text, numbers, lists and dicts") from error
        path = self.folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}{suffix}"
        if path.exists():  # complete, since it is written atomically
            return path
        if write is not None:
            write(path)
            return path
        with atomic_file(path) as file:
            file.writelines(json.dumps(item).encode() + b"\n" for item in content)
        return path


def _weights(problem_id: Iterable[object], weight: Iterable[Any]) -> dict[str, Sequence[Any]]:
    """The columns of a file of weights."""
    names, allowed = ids_in(problem_id, "weights"), "a finite number of at least 0"
    found = numbers_in(list(weight), "`weights`", lambda row: f"problem {names[row]!r}", allowed).astype(float)
    wrong = ~(np.isfinite(found) & (found >= 0))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise UserError(f"`weights` {found[place]} of problem {names[place]!r} must be {allowed}; mend the row")
    return {"problem_id": names, "weight": found.tolist()}


def _rows(given: list[Mapping[str, Any]], columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """`given` with None in empty cells, none of which may be an id."""
    usual = (columns["id"],) if "id" in columns else PLAIN_COLUMNS["id"]
    for number, row in enumerate(given):
        if (column := next((name for name in usual if name in row), None)) is not None:
            refuse_missing_id(row[column], column, "problems", number)
    return [{name: None if is_missing(value) else value for name, value in row.items()} for row in given]
