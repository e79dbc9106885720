"""Figure 2: gradient SNR against the pass rate before updates 1 and 20, from the probe's record of a scale.

The only picture of that name; what every probe draws of itself is its SNR curve (figures/snr_curves.py).

python -m figures.figure2_snr [--out figures/out] [--results results] [--scale desk-v1]
"""

from pathlib import Path

from figures.command import run
from paced_exp.plotting.style import COLORS, new_figure, save_figure
from paced_exp.probe.figure import plot_snr
from paced_exp.reproduce.c1 import figure_probe
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.probes import probe_command

NAME = "figure2_snr"


def draw(out: Path, results: Path, scale: str = "desk-v1") -> list[Path]:
    """Draw the probe at several updates into out/, or the one there is, or that there is none. Raises `UserError` for a damaged record."""
    chosen = scale_named(scale, results)
    if found := figure_probe(results, chosen):
        return plot_snr(found[0], out, NAME)
    figure, axis = new_figure("single", 2.0)
    axis.set(xlabel="pass rate", ylabel="gradient SNR")
    axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=COLORS["grey"])
    return save_figure(figure, NAME, out, caption=f"Gradient SNR against the pass rate at {scale} scale: not run. {probe_command(chosen)}")


if __name__ == "__main__":
    run(draw, __doc__)
