"""Figure 9: whether problems of different pass rates pull in one direction: cosines of their mean gradients, and the weight that follows.

python -m figures.figure9_bins [--out figures/out] [--results results] [--scale desk]
"""

from pathlib import Path

from figures.command import run, undrawn
from paced_exp.probe.gram_figure import plot_gram
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.probes import ALIGNMENT, probes_of

NAME = "figure9_bins"


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw the bins of the scale's first probe against accuracy into out/, or that there is none. Raises `UserError` for a damaged record."""
    probes = probes_of(scale_named(scale, results), ALIGNMENT)
    if probes and (record := probes[0].record(results)) is not None:
        return plot_gram(record, out, NAME)
    return undrawn(out, NAME, f"Cosines of the mean gradients of problems by pass rate at {scale} scale", probes[:1])


if __name__ == "__main__":
    run(draw, __doc__)
