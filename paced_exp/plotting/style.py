"""One style for every figure: colour-blind safe (Okabe and Ito 2008), told apart in grey by line and marker, print width, deterministic."""

import io
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure

from paced_exp.core.atomic import atomic_file

COLORS = {
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "yellow": "#E69F00",
    "sky": "#56B4E9",
    "grey": "#7F7F7F",
    "black": "#000000",
}
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
WIDTHS = {"single": 3.4, "double": 7.0}

RC: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "svg.hashsalt": "paced",  # ids in the file: equal figures give equal files
    "svg.fonttype": "path",
}
# For the whole process, from import on: legends and texts are made between new_figure and save_figure, and a local context would miss them.
matplotlib.rcParams.update(RC)


class ShownFigure(Figure):
    """A figure that a notebook shows. It belongs to no pyplot: no backend is chosen for the process, and nothing need be closed."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=110)
        return file.getvalue()


def new_figure(width: Literal["single", "double"] = "single", height_in: float = 2.4, **subplots: Any) -> tuple[Figure, Any]:
    """A figure of a print column's width (inches) in the shared style, and its axes; further arguments go to `Figure.subplots`."""
    figure = ShownFigure(figsize=(WIDTHS[width], height_in))
    return figure, figure.subplots(**subplots)


def save_figure(figure: Figure, name: str, folder: str | Path, *, caption: str) -> list[Path]:
    """Write folder/NAME.pdf, .png, .svg and .txt (the caption, which stands alone), without dates: equal data gives equal files."""
    dates: dict[str, dict[str, None]] = {
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
    }
    paths = [Path(folder) / f"{name}.{suffix}" for suffix in (*dates, "txt")]
    for path, metadata in zip(paths, dates.values(), strict=False):
        with atomic_file(path) as file:
            figure.savefig(file, format=path.suffix[1:], metadata=metadata)
    with atomic_file(paths[-1]) as file:
        file.write((" ".join(caption.split()) + "\n").encode())
    return paths
