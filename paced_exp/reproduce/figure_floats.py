"""The figures for LaTeX, with the captions that were drawn with them: paper/tables/figure-NAME.tex from figures/out.

python -m paced_exp.reproduce.figure_floats [--figures figures/out] [--out paper/tables]
"""

from dataclasses import dataclass
from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_atomically
from paced_exp.core.options import Options
from paced_exp.reproduce.printing import filled


@dataclass(frozen=True, kw_only=True)
class FloatsConfig(Options):
    """Figures.

    Attributes:
        figures: folder of the drawn figures
        out: folder to write to
    """

    figures: Path = Path("figures/out")
    out: Path = Path("paper/tables")


def captions(figures: Path) -> dict[str, str]:
    """The captions of the drawn figures, by their names. Raises `UserError` where none was drawn."""
    if found := {path.stem: path.read_text(encoding="utf-8").strip() for path in sorted(figures.glob("*.txt"))}:
        return found
    raise UserError(f"`figures` {figures} holds no figures; draw them with: make figures")


@configs.command(FloatsConfig, "paced_exp.reproduce.figure_floats", __doc__)
def main(config: FloatsConfig) -> None:
    """Write one file a figure."""
    found = captions(config.figures)
    for name, caption in found.items():
        write_atomically(config.out / f"figure-{name}.tex", filled("figure.tex", name=name, caption=caption))
    print(f"{len(found)} figures in {config.out}")


if __name__ == "__main__":
    exit_cleanly(main)
