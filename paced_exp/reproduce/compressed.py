"""Does a student that was trained with PACED's weight lose less when it is compressed? The students of the table `neighbours`, compressed.

    python -m paced_exp.reproduce --table neighbours --keep true      # the students, kept under runs/reproduce
    python -m paced_exp.reproduce.compressed                          # their records under results/desk/compressed

Each student is evaluated as it is and in every compressed form, on the same problems with the same seeds. A student that has a record is not run
again, and a killed run goes on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.evaluation.compress_config import WHOLE, CompressConfig
from paced_exp.reproduce.cells import Cell
from paced_exp.reproduce.compressed_findings import FOLDER, KIND, command_of, record_of, record_path, students
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.options import RecordsOptions
from paced_exp.reproduce.records import write_sealed
from paced_exp.reproduce.run_cell import cell_folder, scores_of

METHODS = "int8,int4,2:4,magnitude:0.5"
SAMPLES, LIMIT = 4, 1000


@dataclass(frozen=True, kw_only=True)
class CompressedConfig(RecordsOptions):
    """Students.

    Attributes:
        scale: whose students
        work: where the grids' runs lie, made with `keep`
    """

    scale: str = "desk"
    work: Path = Path("runs/reproduce")


def compress_student(cell: Cell, results: Path, work: Path) -> Path:
    """Compress the student of `cell`, evaluate every form, and write the record. Raises `UserError` where the student was not kept."""
    from paced_exp.evaluation.compress_run import compress, method_folder  # torch takes seconds to load

    scale, model = cell.scale, cell_folder(cell, work) / "model"
    if not (model / "config.json").exists():
        raise UserError(
            f"{model} is not there: the student of {cell.name} was not kept; delete its record if it has one, and run: {cell.command} --keep true"
        )
    out = work / scale.name / FOLDER / f"{cell.row}-s{cell.seed}"
    config = CompressConfig(
        model=str(model),
        methods=METHODS,
        evaluate=",".join(scale.sources),
        retention=scale.retention,
        samples=SAMPLES,
        evaluate_limit=min(LIMIT, scale.evaluation.get("evaluate_limit") or LIMIT),
        max_new_tokens=scale.shared["max_new_tokens"],
        device=scale.device,
        dtype="float32",
        out=str(out),
    )
    made = compress(config)
    methods = []
    for entry in made["methods"]:
        name = entry["method"]
        folder = out / WHOLE if name == WHOLE else method_folder(out, name) / "evaluation"
        found = {
            source: {key: scores[key] for key in ("problems", "samples", "correct")}
            for source, scores in scores_of(folder, scale.sources).items()
        }
        methods.append({"method": name, "bytes": entry["bytes"], "share": entry["share"], "scores": found})
    content: dict[str, Any] = {
        "kind": KIND,
        "scale": scale.name,
        "row": cell.row,
        "seed": cell.seed,
        "student": cell.options,
        "command": command_of(cell),
        "methods": methods,
        "provenance": {name: value for name, value in made["provenance"].items() if name != "command"},
    }
    path = record_path(results, scale, cell.row, cell.seed)
    write_sealed(path, content)
    return path


@configs.command(CompressedConfig, "paced_exp.reproduce.compressed", __doc__)
def main(config: CompressedConfig) -> None:
    """Compress the students that have no record, and print every record's path."""
    scale = scale_named(config.scale, config.results)
    for cell in students(scale):
        path = record_path(config.results, scale, cell.row, cell.seed)
        if path.exists():
            record_of(config.results, cell)
        else:
            compress_student(cell, config.results, config.work)
        print(path)


if __name__ == "__main__":
    exit_cleanly(main)
