"""The figures that there are, and what the command of each does: draw into --out and print the paths written.

A module figureN_NAME or theory_NAME is a figure: it has NAME, CAPTION (its text) and draw(out), or draw(out, results, scale) where it is drawn
from records.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.options import Options
from paced_exp.plotting.style import COLORS, new_figure, save_figure
from paced_exp.reproduce.probes import Probe
from paced_exp.reproduce.records import read_sealed, readable

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER.parent / "results"


@dataclass(frozen=True, kw_only=True)
class OutOptions(Options):
    """Figure.

    Attributes:
        out: folder for the PDF, the PNG, the SVG and the caption
    """

    out: Path = Path("figures/out")


@dataclass(frozen=True, kw_only=True)
class ScaleOptions(Options):
    """Records.

    Attributes:
        results: folder of the records
        scale: whose records
    """

    results: Path = RESULTS
    scale: str = "desk"


@dataclass(frozen=True, kw_only=True)
class FromRecordsConfig(OutOptions, ScaleOptions):
    """A figure that is drawn from records."""


def modules() -> list[ModuleType]:
    """Every figure's module, the numbered ones first."""
    names = sorted(path.stem for path in FOLDER.glob("*.py") if re.match(r"figure\d|theory_", path.stem))
    return [importlib.import_module(f"figures.{name}") for name in names]


def from_records(draw: Callable[..., list[Path]]) -> bool:
    """Whether a figure is drawn from records."""
    return "results" in inspect.signature(draw).parameters


def undrawn(out: Path, name: str, what: str, probes: Sequence[Probe]) -> list[Path]:
    """A figure that says that its probe was not run, and in its caption the command that runs it."""
    figure, axis = new_figure("single", 2.0)
    axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=COLORS["grey"])
    return save_figure(figure, name, out, caption=f"{what}: not run. {' && '.join(probe.command for probe in probes)}".strip())


@dataclass(frozen=True, kw_only=True)
class BenchOptions(OutOptions):
    """Record.

    Attributes:
        record: what the benchmark wrote (by default that in results/bench)
    """

    record: Path | None = None


def bench_command(draw: Callable[[dict[str, Any], Path], list[Path]], benchmark: str, description: str) -> Callable[..., None]:
    """The command that draws the record of `python -m bench.BENCHMARK` and prints the paths."""

    @configs.command(BenchOptions, f"figures.bench_{benchmark}", description)
    def main(config: BenchOptions) -> None:
        record = RESULTS / "bench" / f"{benchmark}.json" if config.record is None else config.record
        if not record.exists():
            raise UserError(f"`record` {record} does not exist; make it with: python -m bench.{benchmark}")
        for path in draw(read_sealed(record), config.out):
            print(path)

    return main


def run(draw: Callable[..., list[Path]], description: str, argv: list[str] | None = None) -> None:
    """Draw with the options that the figure has, and print the paths."""
    config_class = FromRecordsConfig if from_records(draw) else OutOptions
    name = f"figures.{Path(inspect.getfile(draw)).stem}".removesuffix(".__main__")

    @configs.command(config_class, name, description)
    def main(config: Any) -> None:
        if isinstance(config, FromRecordsConfig):
            readable(config.results)
        for path in draw(**vars(config)):
            print(path)

    exit_cleanly(lambda: main(argv))
