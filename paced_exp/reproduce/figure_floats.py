"""The figures for LaTeX, with the captions that were drawn with them: paper/tables/figure-NAME.tex from figures/out.

python -m paced_exp.reproduce.figure_floats [--figures figures/out] [--out paper/tables]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_atomically
from paced_exp.reproduce.printing import escape


def figure_float(name: str, caption: str) -> str:
    """A figure environment labelled fig:NAME."""
    lines = [
        r"\begin{figure}[htbp]",
        r"\centering",
        rf"\includegraphics[width=\textwidth]{{{name}}}",
        rf"\caption{{{escape(caption)}}}\label{{fig:{name}}}",
        r"\end{figure}",
    ]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: one file a figure. Raises `UserError` where none was drawn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", type=Path, default=Path("figures/out"), help="folder of the drawn figures")
    parser.add_argument("--out", type=Path, default=Path("paper/tables"), help="folder to write to")
    arguments = parser.parse_args(argv)
    captions = sorted(arguments.figures.glob("*.txt"))
    if not captions:
        raise UserError(f"--figures {arguments.figures} holds no figures; draw them with: make figures")
    for path in captions:
        write_atomically(arguments.out / f"figure-{path.stem}.tex", figure_float(path.stem, path.read_text(encoding="utf-8").strip()))
    print(f"{len(captions)} figures in {arguments.out}")


if __name__ == "__main__":
    exit_cleanly(main)
