"""Every figure of the paper in one process, from records and the theory.

python -m figures [--out figures/out] [--results results] [--scale desk]
"""

import importlib
from pathlib import Path

from figures import figure1_overview, figure2_snr, figure3_prompts, figure4_compute, figure5_histogram, figure6_claims
from figures.command import run_on_records

THEORY = sorted(path.stem for path in Path(__file__).parent.glob("theory_*.py"))


def draw_all(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw everything into out/."""
    paths = figure1_overview.draw(out) + figure3_prompts.draw(out)
    for module in (figure2_snr, figure4_compute, figure5_histogram, figure6_claims):
        paths += module.draw(out, results, scale)
    for name in THEORY:
        paths += importlib.import_module(f"figures.{name}").draw(out)
    return paths


if __name__ == "__main__":
    run_on_records(draw_all, __doc__)
