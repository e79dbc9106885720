"""The figures' captions for LaTeX: paper/tables/caption-NAME.tex from figures/out/NAME.txt, which `make figures` writes.

python -m paced_exp.reproduce.captions [--figures figures/out] [--out paper/tables]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from paced_exp.errors import UserError, exit_cleanly
from paced_exp.reproduce.printing import escape
from paced_exp.run_folder import write_atomically


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: one file a caption. Raises `UserError` where no figure was drawn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", type=Path, default=Path("figures/out"), help="folder of the drawn figures")
    parser.add_argument("--out", type=Path, default=Path("paper/tables"), help="folder to write to")
    arguments = parser.parse_args(argv)
    captions = sorted(arguments.figures.glob("*.txt"))
    if not captions:
        raise UserError(f"--figures {arguments.figures} holds no figures; draw them with: make figures")
    for path in captions:
        write_atomically(arguments.out / f"caption-{path.stem}.tex", escape(path.read_text(encoding="utf-8").strip()) + "%\n")
    print(f"{len(captions)} captions in {arguments.out}")


if __name__ == "__main__":
    exit_cleanly(main)
