"""A table as it is printed: texts with the numbers, records and commands behind them, the same for Markdown, LaTeX and HTML."""

from dataclasses import dataclass, field
from pathlib import Path

from paced_exp.reproduce.significance import Estimate

NOT_RUN = "not run"
NONE = "–"
ONE_SEED = "one seed"  # of a difference, whose interval needs two


@dataclass(frozen=True)
class Value:
    """What stands in one place of a table. number: what it is sorted by. bold: best within noise. records: files that it comes from.
    command: what makes them."""

    text: str
    number: float | None = None
    bold: bool = False
    records: tuple[Path, ...] = ()
    command: str = ""


@dataclass(frozen=True)
class PrintedTable:
    """A table to be printed: its name (of files and anchors), title, head, rows, and notes under it.

    widths: of the columns in LaTeX, in shares of the text's width, where they hold sentences; such a table may break over pages.
    """

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = field(default=())
    widths: tuple[float, ...] = ()

    @property
    def kinds(self) -> list[str]:
        """Of every column whether it holds `text` or a `number`."""
        return ["text" if self._is_text(column) else "number" for column in range(len(self.head))]

    def _is_text(self, column: int) -> bool:
        cells = [row[column] for row in self.rows]
        return column == 0 or any(cell.number is None and cell.text not in (NOT_RUN, NONE, ONE_SEED) for cell in cells)


def fixed(value: float, digits: int) -> str:
    """A number with so many decimals, never "-0.0"."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def signed(value: float, digits: int) -> str:
    """The same with its sign."""
    text = fixed(value, digits)
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"


def with_interval(estimate: Estimate) -> str:
    """A difference in points with its 95 % interval: `+1.2 [+0.3, +2.1]`."""
    return f"{signed(estimate.value, 1)} [{signed(estimate.low, 1)}, {signed(estimate.high, 1)}]"
