"""What every theory figure's command does: parse --out, draw, print the paths written."""

import argparse
from collections.abc import Callable
from pathlib import Path


def run(draw: Callable[[Path], list[Path]], description: str | None, argv: list[str] | None = None) -> None:
    """Call draw(out) with the folder of --out (default figures/out) and print the paths it returns."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("figures/out"), help="folder for the PDF, the PNG and the caption")
    for path in draw(parser.parse_args(argv).out):
        print(path)
