"""Readers turn the rows of a .jsonl or .parquet file, or of a hub data set, into problems, by means of `layouts`."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.data.layouts import Origin, RowError, dapo, layout_of, mapped
from paced_exp.data.problem import Problem

SUFFIXES = (".jsonl", ".parquet")

# Configurations (all are read, in order; None for the only one) and default split of the known data sets. Without a default split,
# the only split is taken, or the user must name one.
HUB_DEFAULTS: dict[str, tuple[tuple[str | None, ...], str | None]] = {
    "BytedTsinghua-SIA/DAPO-Math-17k": ((None,), "train"),
    "open-r1/DAPO-Math-17k-Processed": (("all",), "train"),
    "HuggingFaceH4/MATH-500": ((None,), "test"),
    "HuggingFaceH4/aime_2024": ((None,), "train"),
    "Maxwell-Jia/AIME_2024": ((None,), "train"),
    "opencompass/AIME2025": (("AIME2025-I", "AIME2025-II"), "test"),
    "math-ai/aime25": ((None,), "test"),
    "openai/gsm8k": (("main",), None),
    "cais/mmlu": (("all",), "test"),
}
HUB_TIMEOUT_SECONDS = 10.0
SHOWN_ROWS = 3  # that a line about prompts with several answers lists
LOCAL_WORKS = "a path to a .jsonl or .parquet file works without a hub"


def read_file(spec: str, columns: Mapping[str, str] | None = None) -> list[Problem]:
    """All problems of a .jsonl or .parquet file. Raises `UserError`, naming the file and the line or row.

    In the layout `dapo`, repeats of a prompt are dropped, as a line on stderr says. An equal prompt with another answer is an error.
    """
    path = Path(spec)
    if path.suffix not in SUFFIXES:
        raise UserError(f"source {spec!r}: must be lab:SPLIT, hub:OWNER/NAME, or a path that ends in {' or '.join(SUFFIXES)}")
    if not os.path.isfile(path):  # unlike Path.is_file it is False, not an error, for a name that is too long
        raise UserError(f"source {spec!r}: {'not a file' if os.path.exists(path) else 'no such file'}; check the path")
    try:
        rows = _jsonl_rows(path) if path.suffix == ".jsonl" else _parquet_rows(path)
        return _problems(rows, path.stem, spec, path.stem, columns)
    except PermissionError as error:
        raise UserError(f"source {spec!r}: not readable ({error.strerror})") from None


def read_hub(spec: str, columns: Mapping[str, str] | None = None) -> list[Problem]:
    """All problems of `hub:OWNER/NAME[/CONFIG][:SPLIT]`, through `datasets` (code from the hub is never run).

    In the layout `dapo`, repeats of a prompt are dropped, as a line on stderr says. Prompts with several answers are left out, as another line says:
    they cannot be mended on the hub (SkyRL's script that cleans DAPO-Math-17k leaves them out too).

    Raises `UserError`, in one line: no hub reachable (a data set in the cache is used when HF_HUB_OFFLINE=1 is set), no such data set,
    configuration or split.
    """
    identifier, _, split = spec.removeprefix("hub:").partition(":")
    pieces = identifier.split("/")
    if not 2 <= len(pieces) <= 3 or not all(pieces):
        raise UserError(f"source {spec!r}: expected hub:OWNER/NAME, hub:OWNER/NAME:SPLIT or hub:OWNER/NAME/CONFIG:SPLIT")
    name = "/".join(pieces[:2])
    configs, default_split = HUB_DEFAULTS.get(name, ((None,), None))
    if len(pieces) == 3:
        configs = (pieces[2],)
    _ask_hub(spec, name)

    import datasets  # takes a second, and reads the cache only when HF_HUB_OFFLINE=1 is set

    try:
        split = split or default_split or _only_split(spec, name, configs[0])
        tables = [(config, datasets.load_dataset(name, config, split=split)) for config in configs]
    except (ValueError, ConnectionError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"source {spec!r}: the data set could not be loaded ({error}); {LOCAL_WORKS}") from None
    rows = (
        (f"hub:{name}{f'/{config}' if config else ''}:{split} row {number}", dict(row))
        for config, table in tables
        for number, row in enumerate(table)
    )
    return _problems(rows, pieces[1], f"hub:{identifier}", split, columns)


def _ask_hub(spec: str, name: str) -> None:
    """Raise `UserError` unless the hub has the data set `name`, or must not be asked (HF_HUB_OFFLINE=1).

    Asked first, since `datasets` retries for half a minute, and logs every attempt, before it says that there is no network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        HfApi().dataset_info(name, timeout=HUB_TIMEOUT_SECONDS)
    except OfflineModeIsEnabled:
        return
    except RepositoryNotFoundError:
        problem = f"the hub has no data set {name!r} that you may read; check the name, or log in"
    except (HfHubHTTPError, HFValidationError) as error:
        problem = f"the hub refuses the data set {name!r} ({error})"
    except Exception as error:  # errors of the HTTP library, whose classes depend on its version
        problem = (
            f"no hub could be reached for the data set {name!r} ({type(error).__name__}: {error}); HF_HUB_OFFLINE=1 uses a cached copy"
        )
    else:
        return
    raise UserError(f"source {spec!r}: {problem}; {LOCAL_WORKS}")


def _only_split(spec: str, name: str, config: str | None) -> str:
    import datasets

    splits: list[str] = datasets.get_dataset_split_names(name, config)
    if len(splits) != 1:
        example = f"hub:{name}:{splits[0]}" if splits else "a split"
        raise UserError(f"source {spec!r}: which split? There are {', '.join(splits) or 'none'}; write {example}")
    return splits[0]


def _problems(
    rows: Iterable[tuple[str, dict[str, Any]]], stem: str, source: str, split: str, columns: Mapping[str, str] | None
) -> list[Problem]:
    """The problems of `rows`, pairs of a position and a row. The first row determines the layout."""
    problems: list[Problem] = []
    repeats = _Repeats()
    layout = None
    for number, (where, row) in enumerate(rows):
        origin = Origin(f"{stem}-{number}", source, split)
        try:
            layout = layout or (mapped(row, columns) if columns else layout_of(row))
            problem = layout(row, origin)
        except RowError as error:
            raise UserError(f"{where}: {error}") from None
        # DAPO-Math-17k was published with every problem about a hundred times over (github.com/BytedTsinghua-SIA/DAPO/issues/36).
        if layout is not dapo or repeats.is_first(problem, where):
            problems.append(problem)
    if not problems:
        raise UserError(f"{source}: no problems in it; give a file or split with at least one row")
    return repeats.settled(problems, source)


class _Repeats:
    """The prompts of a data set that occur more than once."""

    def __init__(self) -> None:
        self._firsts: dict[str, tuple[str, str]] = {}  # prompt -> position and answer of its first row
        self._dropped = 0
        self._several: dict[str, str] = {}  # prompt with several answers -> two rows that differ

    def is_first(self, problem: Problem, where: str) -> bool:
        """Whether the prompt is new. A repeat is counted, and kept in mind if its answer is another."""
        first, answer = self._firsts.setdefault(problem.prompt, (where, problem.answer))
        self._dropped += first != where
        if answer != problem.answer:
            self._several.setdefault(problem.prompt, f"{first} has {answer!r:.40}, {where} has {problem.answer!r:.40}")
        return first == where

    def settled(self, problems: list[Problem], source: str) -> list[Problem]:
        """`problems` without those of several answers, which are refused where the user can mend them. Says on stderr what was dropped."""
        if self._several:
            count = f"{len(self._several)} prompt{'s' if len(self._several) > 1 else ''} with different answers"
            shown = "; ".join([*self._several.values()][:SHOWN_ROWS])
            if not source.startswith("hub:"):
                raise UserError(f"{source}: {count}: {shown}; mend the answers, or take out all rows of such a prompt")
            problems = [problem for problem in problems if problem.prompt not in self._several]
            print(f"warning: {source}: {count} left out: {shown}", file=sys.stderr)
        if self._dropped:
            rows = len(self._firsts) + self._dropped
            print(f"{source}: {self._dropped} of {rows} rows repeat the prompt of an earlier one and were dropped", file=sys.stderr)
        return problems


def _jsonl_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    # utf-8-sig drops a byte order mark, which some editors write.
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path} line {number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if not text.strip():
                    continue
                row = json.loads(text)
            except UnicodeDecodeError as error:
                raise UserError(f"{where}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None
            except (ValueError, RecursionError) as error:
                raise UserError(f"{where}: not valid JSON ({error!s:.200}); each line must be one JSON object") from None
            if not isinstance(row, dict):
                raise UserError(f"{where}: a JSON {type(row).__name__}; each line must be one JSON object with the columns as keys")
            yield where, row


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    yield f"{path} row {number}", row
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({error})") from None
