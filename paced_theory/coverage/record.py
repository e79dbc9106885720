"""From the settings of all studies to a table and results/theory/coverage.json."""

import hashlib
import importlib
import json
import math
import os
import pkgutil
import platform
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from scipy.special import bdtr, betaincinv

import paced_theory
from paced_theory import coverage
from paced_theory.coverage.study import Covered, Setting

#: A required coverage counts as missed where it would give so few data sets covered with less than this probability.
SIGNIFICANCE = 1e-3


def settings() -> list[Setting]:
    """All settings that the modules of this package declare as SETTINGS, by module. ValueError where two share study and name."""
    found: list[Setting] = []
    for module in sorted(info.name for info in pkgutil.iter_modules(coverage.__path__) if info.name != "__main__"):
        found += getattr(importlib.import_module(f"{coverage.__name__}.{module}"), "SETTINGS", [])
    keys = [(setting.study, setting.name) for setting in found]
    if len(set(keys)) < len(keys):
        raise ValueError(f"two settings are called {next(key for key in keys if keys.count(key) > 1)}; a study's names must differ")
    return found


def generator(setting: Setting, seed: int) -> np.random.Generator:
    """The setting's own stream of random numbers, whatever else is run beside it."""
    digest = hashlib.sha256(f"{setting.study}\n{setting.name}".encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], dtype=np.uint32).tolist()])


def simulate(setting: Setting, replicates: int, seed: int) -> Covered:
    """Run one setting. An infinity or NaN in `extra`, which JSON cannot hold, is left out."""
    row = setting.run(replicates, generator(setting, seed))
    return replace(row, extra={name: float(value) for name, value in row.extra.items() if math.isfinite(value)})


def simulate_named(key: tuple[str, str], replicates: int, seed: int) -> tuple[Covered, float]:
    """`simulate` with its seconds of processor time, by study and name: settings themselves do not travel between processes."""
    setting = next(setting for setting in settings() if (setting.study, setting.name) == key)
    start = time.process_time()
    row = simulate(setting, replicates, seed)
    return row, time.process_time() - start


def leave_interrupts_to_the_parent() -> None:
    """For worker processes: Ctrl-C reaches all of a terminal's processes, and the parent ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True)
class Judged:
    """A row with its coverage's own exact 95 % interval (Clopper-Pearson), and whether its requirement is met.

    verdict: "ok"; "within error", below what is required but by no more than simulation error explains; "missed"; "" without a requirement.
    """

    row: Covered
    low: float
    high: float
    verdict: str


def judge(row: Covered) -> Judged:
    """The interval and the verdict of a row."""
    hits, n = row.covered, row.replicates
    low = float(betaincinv(hits, n - hits + 1, 0.025)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, 0.975)) if hits < n else 1.0
    verdict = ""
    if row.required is not None:
        significant = hits < n and float(bdtr(hits, n, row.required)) < SIGNIFICANCE
        verdict = "ok" if hits >= row.required * n else "missed" if significant else "within error"
    return Judged(row, low, high, verdict)


def table(rows: Iterable[Covered]) -> str:
    """A line a setting, its study before the first of it."""
    lines, study = [], ""
    for row in rows:
        judged = judge(row)
        if row.study != study:
            study = row.study
            lines += [
                "",
                f"{study} (nominal {row.nominal:g})",
                f"{'covered':>8} {'95 % interval':>16} {'required':>8}  verdict       setting",
            ]
        required = "none" if row.required is None else f"{row.required:g}"
        lines.append(
            f"{row.covered / row.replicates:8.3f} {f'[{judged.low:.3f}, {judged.high:.3f}]':>16} {required:>8}  {judged.verdict:<13} {row.setting}"
        )
    return "\n".join(lines).lstrip("\n")


def source_hash() -> str:
    """A hash of the package's source: rows that other code simulated are not mixed with this code's on resuming."""
    root = Path(paced_theory.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if "claims" not in path.parts:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def load_rows(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows that an interrupted run has appended, by study and setting. A line torn by a kill is passed over: it is run again."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                rows[row["study"], row["setting"]] = row
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
    return rows


def append_row(path: Path, row: Covered, seed: int, source: str) -> None:
    """Append one finished setting. It begins a new line, whatever a kill has left of the last one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({**asdict(row), "seed": seed, "source": source}, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def as_covered(row: dict[str, Any]) -> Covered:
    """A row of a record or of an interrupted run."""
    names = ("study", "setting", "nominal", "covered", "replicates", "required", "extra")
    return Covered(**{name: row[name] for name in names})


def write_record(path: Path, rows: Sequence[Covered], sources: Sequence[str], seed: int) -> None:
    """Write the record in one step, so that a kill leaves the old one or the new one."""
    studies = [
        asdict(row) | {"low": judged.low, "high": judged.high, "verdict": judged.verdict, "source": source}
        for row, judged, source in zip(rows, map(judge, rows), sources, strict=True)
    ]
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    record = {"kind": "coverage", "seed": seed, "versions": versions, "settings": studies}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(record, indent=1, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
