"""Every figure of the paper in one process, from records and the theory.

python -m figures [--out figures/out] [--results results] [--scale desk]
"""

from pathlib import Path

from figures.command import from_records, modules, run


def draw_all(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw everything into out/."""
    paths: list[Path] = []
    for module in modules():
        paths += module.draw(out, results, scale) if from_records(module.draw) else module.draw(out)
    return paths


if __name__ == "__main__":
    run(draw_all, __doc__)
