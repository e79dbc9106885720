"""The shared style, under the name that figure scripts import; figures are also written as SVG, for the page."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from paced_exp.plotting import style
from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure

__all__ = ["COLORS", "LINES", "MARKERS", "new_figure", "save_figure"]

plt.rcParams["svg.hashsalt"] = "paced"  # ids in the file: equal figures give equal files
plt.rcParams["svg.fonttype"] = "path"


def save_figure(figure: Figure, name: str, folder: str | Path, *, caption: str) -> list[Path]:
    """Write NAME.pdf, .png and .txt into `folder` (see `paced_exp.plotting.style`), whose paths are returned, and NAME.svg beside them."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / f"{name}.svg", metadata={"Date": None, "Creator": None})
    return style.save_figure(figure, name, out, caption=caption)
