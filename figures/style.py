"""The shared style, under the name that figure scripts import."""

from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure, save_figure

__all__ = ["COLORS", "LINES", "MARKERS", "new_figure", "save_figure"]
