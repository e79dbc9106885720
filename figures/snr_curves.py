"""The SNR curve of every probe of a scale, the cosines of its bins, and utility for accuracy where it was measured, drawn from its record into the record's own folder.

python -m figures.snr_curves [--results results] [--scale desk]
"""

from pathlib import Path

from figures.command import ScaleOptions
from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.probe.accuracy_figure import plot_accuracy
from paced_exp.probe.figure import plot_snr
from paced_exp.probe.gram_figure import plot_gram
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.probes import ALIGNMENT, PROBE_TABLES, probes_of
from paced_exp.reproduce.records import readable


def draw(results: Path, scale: str = "desk") -> list[Path]:
    """Draw the figures of every probe that has run; older records have no cosines. Raises `UserError` for a damaged record."""
    chosen = scale_named(scale, results)
    paths = []
    for probe in (probe for table in PROBE_TABLES for probe in probes_of(chosen, table)):
        if (record := probe.record(results)) is not None:
            folder = probe.folder(results)
            paths += plot_gram(record, folder) + plot_snr(record, folder)
            paths += plot_accuracy(record, folder) if probe.table == ALIGNMENT else []
    return paths


@configs.command(ScaleOptions, "figures.snr_curves", __doc__)
def main(config: ScaleOptions) -> None:
    """Draw, and print the paths."""
    for path in draw(readable(config.results).folder, config.scale):
        print(path)


if __name__ == "__main__":
    exit_cleanly(main)
