"""Figure 2 from a committed probe record.

python -m figures.figure2_snr --out figures/out [--record results/desk/snr_probe/record.json]
"""

import argparse
from pathlib import Path

from paced_exp.errors import UserError, exit_cleanly
from paced_exp.plotting.snr import plot_snr
from paced_exp.run_folder import read_json

RECORD = Path(__file__).resolve().parent.parent / "results" / "desk" / "snr_probe" / "record.json"


def draw(out: Path, record: Path = RECORD) -> list[Path]:
    """Draw figure 2 into out/. Raises `UserError` for a record that does not exist."""
    if not record.exists():
        raise UserError(f"--record {record} does not exist; make it with: python -m paced_exp.snr_probe")
    return plot_snr(read_json(record), out)


def main(argv: list[str] | None = None) -> None:
    """Draw figure 2 and print the paths written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--out", type=Path, default=Path("figures/out"))
    arguments = parser.parse_args(argv)
    for path in draw(arguments.out, arguments.record):
        print(path)


if __name__ == "__main__":
    exit_cleanly(main)
