"""Figure 2: gradient SNR against the pass rate, from the probe's record of a scale.

The only picture of that name; what every probe draws of itself is its SNR curve (figures/snr_curves.py).

python -m figures.figure2_snr [--out figures/out] [--results results] [--scale desk]
"""

from pathlib import Path

from figures.command import run, undrawn
from paced_exp.probe.figure import plot_snr
from paced_exp.reproduce.c1 import figure_probe
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.probes import probes_of

NAME = "figure2_snr"


def draw(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw the probe at several updates into out/, or the one there is, or that there is none. Raises `UserError` for a damaged record."""
    chosen = scale_named(scale, results)
    if found := figure_probe(results, chosen):
        return plot_snr(found[0], out, NAME)
    return undrawn(out, NAME, f"Gradient SNR against the pass rate at {scale} scale", probes_of(chosen)[:1])


if __name__ == "__main__":
    run(draw, __doc__)
