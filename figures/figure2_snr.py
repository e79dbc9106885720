"""Figure 2 from a committed probe record.

python -m figures.figure2_snr --out figures/out [--record results/desk/snr_probe/record.json]
"""

import argparse
from pathlib import Path

from paced_exp.errors import UserError, exit_cleanly
from paced_exp.plotting.snr import plot_snr
from paced_exp.run_folder import read_json

RECORD = Path(__file__).resolve().parent.parent / "results" / "desk" / "snr_probe" / "record.json"


def main(argv: list[str] | None = None) -> None:
    """Draw figure 2 and print the paths written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--out", type=Path, default=Path("figures/out"))
    arguments = parser.parse_args(argv)
    if not arguments.record.exists():
        raise UserError(f"--record {arguments.record} does not exist; make it with: python -m paced_exp.snr_probe")
    for path in plot_snr(read_json(arguments.record), arguments.out):
        print(path)


if __name__ == "__main__":
    exit_cleanly(main)
