"""The SNR curve of every probe of a scale, drawn from its record into the record's own folder.

python -m figures.snr_curves [--results results] [--scale desk]
"""

import argparse
from pathlib import Path

from figures.command import RESULTS
from paced_exp.core.errors import exit_cleanly
from paced_exp.probe.figure import plot_snr
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.probes import TABLES, probes_of
from paced_exp.reproduce.records import readable


def draw(results: Path, scale: str = "desk") -> list[Path]:
    """Draw the curve of every probe that has run. Raises `UserError` for a damaged record."""
    chosen = scale_named(scale, results)
    paths = []
    for probe in (probe for table in TABLES for probe in probes_of(chosen, table)):
        if (record := probe.record(results)) is not None:
            paths += plot_snr(record, probe.folder(results))
    return paths


def main(argv: list[str] | None = None) -> None:
    """Draw, and print the paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    parser.add_argument("--scale", default="desk", help="whose records (default desk)")
    arguments = parser.parse_args(argv)
    for path in draw(readable(arguments.results).folder, arguments.scale):
        print(path)


if __name__ == "__main__":
    exit_cleanly(main)
