"""Figure 8: the bell beside the slope: what a problem's gradient does for accuracy on other problems, and how much gradients agree.

python -m figures.figure8_utility [--out figures/out] [--results results] [--scale desk]
"""

from pathlib import Path

from figures.command import run, undrawn
from paced_exp.probe.accuracy_figure import plot_accuracy
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.probes import ALIGNMENT, probes_of

NAME = "figure8_utility"


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw the scale's first probe against accuracy into out/, or that there is none. Raises `UserError` for a damaged record."""
    probes = probes_of(scale_named(scale, results), ALIGNMENT)
    if probes and (record := probes[0].record(results)) is not None:
        return plot_accuracy(record, out, NAME)
    return undrawn(out, NAME, f"Utility for accuracy, and gradient SNR, against the pass rate at {scale} scale", probes[:1])


if __name__ == "__main__":
    run(draw, __doc__)
