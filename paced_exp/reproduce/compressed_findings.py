"""What compression costs students that were trained with PACED's weight and without, from the records under results/SCALE/compressed.

The question is ours and exploratory: no claim of the paper rests on it. docs/neighbours.md prints the block between two markers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.evaluation.compress_config import WHOLE
from paced_exp.reproduce.cells import Cell, planned_seeds, row_cells
from paced_exp.reproduce.findings import Finding, exploratory
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.printed_table import with_interval
from paced_exp.reproduce.records import read_sealed
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.significance import Estimate, crossed

TABLE, FOLDER, KIND = "neighbours", "compressed", "compressed"
ROWS = ("uniform", "paced")
BEGIN, END = "<!-- compressed:begin -->", "<!-- compressed:end -->"


@dataclass(frozen=True)
class Cost:
    """What a compression costs. share: its bytes of bfloat16's. lost: accuracy lost, mean of the tiers in points, by row; less: no weighting's loss minus PACED's.

    seeds: of both rows; planned: as many as there will be.
    """

    method: str
    share: float
    lost: dict[str, Estimate]
    less: Estimate
    seeds: int
    planned: int

    @property
    def finding(self) -> Finding:
        """The question whether PACED's student loses less, with the words of the protocol."""
        return exploratory(f"{KIND}.{self.method}", "", self.less, seeds=self.seeds, planned=self.planned)


def record_path(results: Path, scale: Scale, row: str, seed: int) -> Path:
    """Where the record of a student lies."""
    return results / scale.name / FOLDER / f"{row}-s{seed}.json"


def costs(results: Path, scale: Scale) -> list[Cost]:
    """Each method's, in the records' order, over the seeds that both rows have; none below two seeds.

    Raises `UserError` for a record that is damaged or of another student, and where two answer different problems.
    """
    cells = students(scale)
    seeds = sorted({cell.seed for cell in cells})
    there = [seed for seed in seeds if all(record_path(results, scale, row, seed).exists() for row in ROWS)]
    if len(there) < 2:
        return []
    records = {row: [record_of(results, cell) for cell in cells if cell.row == row and cell.seed in there] for row in ROWS}
    _check(records, scale)
    found = []
    for entry in records[ROWS[0]][0]["methods"]:
        method = entry["method"]
        if method == WHOLE:
            continue
        lost = {row: _lost(records[row], method, scale.tiers) for row in ROWS}
        less = [uniform - paced for uniform, paced in zip(*lost.values(), strict=True)]
        found.append(
            Cost(method, entry["share"], {row: crossed(strata) for row, strata in lost.items()}, crossed(less), len(there), len(seeds))
        )
    return found


def students(scale: Scale) -> list[Cell]:
    """The cells whose students are compressed, seed by seed."""
    table = BY_NAME[TABLE]
    cells = [row_cells(scale, table, table.row(name), planned_seeds(scale, table)) for name in ROWS]
    return [cell for of_seed in zip(*cells, strict=True) for cell in of_seed]


def record_of(results: Path, cell: Cell) -> dict[str, Any]:
    """The record of a cell's student. Raises `UserError` where it is damaged, or of another student than the grid has now."""
    path = record_path(results, cell.scale, cell.row, cell.seed)
    content = read_sealed(path)
    home = {"kind": KIND, "scale": cell.scale.name, "row": cell.row, "seed": cell.seed}
    wrong = [name for name, value in home.items() if content.get(name) != value]
    options = content.get("student")
    wrong += configs.differing(options, cell.options, configs.earlier(type(cell.config))) if isinstance(options, dict) else ["student"]
    if wrong:
        raise UserError(
            f"{path} is of another student than the grid has now; differing: {', '.join(wrong)}; delete it and run: {command_of(cell)}"
        )
    return content


def command_of(cell: Cell) -> str:
    """The commands that make a student's record."""
    return f"{cell.command} --keep true && python -m paced_exp.reproduce.compressed --scale {cell.scale.name}"


def _lost(records: Sequence[dict[str, Any]], method: str, sources: Sequence[str]) -> list[np.ndarray]:
    """Accuracy of the whole student less the compressed one's, (S, P) a source, in points."""
    return [np.array([_accuracy(record, WHOLE, source) - _accuracy(record, method, source) for record in records]) for source in sources]


def _accuracy(record: dict[str, Any], method: str, source: str) -> np.ndarray:
    scores = _scores(record, method)[source]
    return 100 * np.array(scores["correct"]) / float(scores["samples"])


def _scores(record: dict[str, Any], method: str) -> dict[str, Any]:
    return next(entry["scores"] for entry in record["methods"] if entry["method"] == method)


def _check(records: dict[str, list[dict[str, Any]]], scale: Scale) -> None:
    """All records have the same methods and problems."""
    plain = [record for row in ROWS for record in records[row]]

    def answered(record: dict[str, Any]) -> list[Any]:
        return [[entry["method"], *(entry["scores"][source]["problems"] for source in scale.tiers)] for entry in record["methods"]]

    for record in plain:
        if answered(record) != answered(plain[0]):
            names = [f"{one['row']}-s{one['seed']}" for one in (record, plain[0])]
            raise UserError(
                f"results/{scale.name}/{FOLDER}: {names[0]} and {names[1]} have other methods or problems; delete the older and run: {record['command']}"
            )


def compressed_block(results: Path, scale: Scale) -> str:
    """A row a method: what each student loses, the difference, and the word by its interval alone."""
    lines = [
        "| compression | size of bfloat16's | lost without weights, points | lost with PACED, points | PACED loses less by | by the interval alone |",
        "|---|---:|---:|---:|---:|---|",
    ]
    found = costs(results, scale)
    for cost in found:
        lost = " | ".join(with_interval(cost.lost[row]) for row in ROWS)
        lacking = f" ({cost.finding.missing})" if cost.finding.missing else ""
        lines.append(f"| `{cost.method}` | {cost.share:.0%} | {lost} | {with_interval(cost.less)} | {cost.finding.verdict}{lacking} |")
    return "\n".join(lines) if found else f"Not run: `python -m paced_exp.reproduce.compressed --scale {scale.name}`."
