"""The study behind theory_stages: every schedule over many random teachers, written to results/theory/stages.json (about 50 s on one core).

python -m figures.study_stages [--out results/theory/stages.json]
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from figures.command import RESULTS
from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.core.json_files import write_checked
from paced_exp.core.options import Options
from paced_theory.stages import SCHEDULES, stage_outcomes
from paced_theory.toy_students import random_mixture, random_softmax

RECORD = RESULTS / "theory" / "stages.json"
FAMILIES = {"mixture": random_mixture, "softmax": random_softmax}
TEACHERS = {"mixture": 100, "softmax": 200}
STARTS = 16
SEED = 1


def outcomes_of(family: str, teachers: int) -> dict[str, dict[str, list[float]]]:
    """For each schedule the mean mass on the best mode and the share of stuck starts, one value a teacher, the first `teachers` of them."""
    generator = np.random.default_rng(SEED)
    found: dict[str, dict[str, list[float]]] = {schedule: {"mass": [], "stuck": []} for schedule in SCHEDULES}
    for number in range(teachers):
        student = FAMILIES[family](generator)
        for outcome in stage_outcomes(student, student.draw_starts(STARTS, generator)):
            found[outcome.schedule]["mass"].append(round(outcome.mean_mass.value, 6))
            found[outcome.schedule]["stuck"].append(outcome.stuck.value)
        if sys.stderr.isatty():
            print(f"\r{family}: {number + 1}/{teachers} teachers", end="", file=sys.stderr, flush=True)
    return found


def study() -> dict[str, Any]:
    """The whole record: what was run, and its outcomes by family, schedule and teacher."""
    families = {family: outcomes_of(family, teachers) for family, teachers in TEACHERS.items()}
    return {"command": "python -m figures.study_stages", "seed": SEED, "starts": STARTS, "teachers": TEACHERS, "outcomes": families}


@dataclass(frozen=True, kw_only=True)
class StudyConfig(Options):
    """Study.

    Attributes:
        out: where the record goes
    """

    out: Path = RECORD


@configs.command(StudyConfig, "figures.study_stages", __doc__)
def main(config: StudyConfig) -> None:
    """Run the study and print the path written."""
    record = study()
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_checked(config.out, record)
    print(config.out)


if __name__ == "__main__":
    exit_cleanly(main)
