"""What a figure's command does: parse --out (and --results, for figures drawn from records), draw, print the paths written."""

import argparse
from collections.abc import Callable
from pathlib import Path

from paced_exp.core.errors import exit_cleanly
from paced_exp.reproduce.records import readable

RESULTS = Path(__file__).resolve().parent.parent / "results"


def run(draw: Callable[[Path], list[Path]], description: str | None, argv: list[str] | None = None) -> None:
    """Call draw(out) with the folder of --out (default figures/out) and print the paths it returns."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("figures/out"), help="folder for the PDF, the PNG, the SVG and the caption")
    for path in draw(parser.parse_args(argv).out):
        print(path)


def run_on_records(draw: Callable[[Path, Path, str], list[Path]], description: str | None, argv: list[str] | None = None) -> None:
    """Call draw(out, results, scale) likewise, with --results and --scale."""

    def main() -> None:
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--out", type=Path, default=Path("figures/out"), help="folder for the PDF, the PNG, the SVG and the caption")
        parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
        parser.add_argument("--scale", default="desk", help="whose records (default desk)")
        arguments = parser.parse_args(argv)
        for path in draw(arguments.out, readable(arguments.results).folder, arguments.scale):
            print(path)

    exit_cleanly(main)
