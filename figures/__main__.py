"""Every figure of the paper in one process, from records and the theory.

python -m figures [--out figures/out] [--results results] [--scale desk]
"""

import importlib
from pathlib import Path

from figures import figure1_overview, figure2_snr, figure3_prompts, figure4_compute, figure5_histogram, figure6_claims
from figures.command import run_on_records
from paced_exp.reproduce.rates import scale_named
from paced_exp.reproduce.verdicts import probe_paths
from paced_exp.run_folder import read_json

THEORY = sorted(path.stem for path in Path(__file__).parent.glob("theory_*.py"))


def probe_of(results: Path, scale: str) -> Path:
    """The record that figure 2 shows: of probes at several updates where there is one, else the one with the most problems."""
    paths = probe_paths(results, scale_named(scale, results))
    found = [path for path in paths if path.exists()]
    return next((path for path in found if "steps" in read_json(path)), next(iter(found), paths[-1]))


def draw_all(out: Path, results: Path, scale: str = "desk") -> list[Path]:
    """Draw everything into out/."""
    paths = figure1_overview.draw(out) + figure3_prompts.draw(out)
    paths += figure2_snr.draw(out, probe_of(results, scale))
    for module in (figure4_compute, figure5_histogram, figure6_claims):
        paths += module.draw(out, results, scale)
    for name in THEORY:
        paths += importlib.import_module(f"figures.{name}").draw(out)
    return paths


if __name__ == "__main__":
    run_on_records(draw_all, __doc__)
