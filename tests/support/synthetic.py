"""Records with scores that a test makes up, in the format that cells write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.core import config as configs
from paced_exp.core.json_files import write_checked
from paced_exp.probe.verdict import end_numbers
from paced_exp.reproduce.cells import Cell, base_cell, row_cells
from paced_exp.reproduce.checks import bin_estimates
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.probes import probes_of
from paced_exp.reproduce.records import write_record
from paced_exp.reproduce.scales import DESK_V1, Scale

PROBLEMS = 60
SAMPLES = 4


def content_of(cell: Cell, correct: dict[str, np.ndarray], problems: str = "ids") -> dict[str, Any]:
    """The content of a record whose scores are `correct` (P,), by source."""
    return {
        "kind": "cell",
        "format": 1,
        "scale": cell.scale.name,
        "table": cell.table,
        "row": cell.row,
        "seed": cell.seed,
        "options": cell.options,
        "command": cell.command,
        "scores": {
            source: {
                "problems": problems,
                "samples": SAMPLES,
                "correct": values.tolist(),
                "tokens": (20 * SAMPLES + values).tolist(),
                "truncated_share": 0.0,
            }
            for source, values in correct.items()
        },
        "flops": {"training": 2e12, "pass_rates": 1e12} if cell.trained else {},
        "training": {"weights": {"problems": 2000, "dropped": 1000}} if cell.trained else None,
        "seconds": {"references and training": 2.0 + cell.seed**2, "evaluation": 1.0} if cell.trained else {"evaluation": 3.0},
        "provenance": {"git": {"commit": "0" * 40}},
    }


def scores(scale: Scale, accuracy: float, seed: int, problems: int = PROBLEMS) -> dict[str, np.ndarray]:
    """Binomial counts around one accuracy for every problem, the same for the same arguments."""
    rng = np.random.default_rng([seed, round(1000 * accuracy)])
    return {source: rng.binomial(SAMPLES, accuracy, problems) for source in scale.sources}


def write_row(
    results: Path, table: str, row: str, accuracy: Callable[[int], float] | float, seeds: int = 5, scale: Scale = DESK_V1
) -> None:
    """Records of a row for the first `seeds` seeds, around accuracy(seed)."""
    for cell in row_cells(scale, BY_NAME[table], BY_NAME[table].row(row), seeds):
        level = accuracy(cell.seed) if callable(accuracy) else accuracy
        write_record(cell.path(results), content_of(cell, scores(scale, level, cell.seed)))


def write_base(results: Path, accuracy: float, scale: Scale = DESK_V1) -> Path:
    """The record of the untrained student."""
    cell = base_cell(scale, "distillation")
    path = cell.path(results)
    write_record(path, content_of(cell, scores(scale, accuracy, 99)))
    return path


def probe_bins(difference: tuple[float, float, float], middle_low: float = 0.1) -> list[dict[str, Any]]:
    """Three bins, both ends alike: SNR²(end) − SNR²(middle)/2 is the difference with that interval where the middle has no width of its own."""
    value, low, high = difference
    middle = (0.2, 0.2, 0.2) if middle_low > 0 else (0.2, middle_low, 0.5)
    end = (value + 0.1, low + 0.1, high + 0.1)
    names = ("snr_squared", "snr_squared_low", "snr_squared_high")
    return [
        {"pass_rate": rate, "n": n, "offered": 60, **dict(zip(names, numbers, strict=True))}
        for rate, n, numbers in ((0.0, 40, end), (0.5, 50, middle), (1.0, 50, end))
    ]


def write_probe(
    results: Path,
    difference: tuple[float, float, float],
    middle_low: float = 0.1,
    folder: str = "snr_probe",
    steps: tuple[int, ...] = (),
) -> Path:
    """The record of a probe of the desk whose ends stand to the middle as `difference` says; at several updates where there are `steps`."""
    bins = probe_bins(difference, middle_low)
    panel = {
        "bins": bins,
        "verdict": {end: end_numbers([row["pass_rate"] for row in bins], bin_estimates(bins), end) for end in ("low", "high")},
    }
    config = configs.as_dict(next(probe.config for probe in probes_of(DESK_V1) if probe.key == folder))
    curves: dict[str, Any] = {"steps": [panel | {"step": step} for step in steps]} if steps else panel
    path = results / "desk-v1" / folder / "record.json"
    write_checked(path, {"kind": "snr_probe", "config": config, **curves})
    return path
