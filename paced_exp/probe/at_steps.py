"""The probe before several updates of a training run: figure 2 of the paper has update 1 and update 20.

The probe of update s takes the student after s - 1 updates, measures its pass rates anew, and computes the gradients of update s. A problem has
the same reference at every update. Each probe and each training is a run in a folder of its own.
"""

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.core.run_folder import RunFolder, provenance
from paced_exp.probe.config import ProbeConfig, parse_steps
from paced_exp.probe.run import run_probe
from paced_exp.training.run import distill

KIND = "snr_probe_at_steps"


def run_at_steps(config: ProbeConfig) -> dict[str, Any]:
    """Probe before every update of `config.at_steps`. Returns the record, with a probe's record for each update under `steps`.

    Raises `UserError` for anything that the user can fix. After a kill, the same call continues.
    """
    run = RunFolder(config.out, config)
    return run.recorded(KIND, lambda: _run_at_steps(config, run))


def _run_at_steps(config: ProbeConfig, run: RunFolder) -> dict[str, Any]:
    steps = parse_steps(config.at_steps)
    trainings = {step: config.training_until(step) for step in steps if step > 1}  # all options are checked before any work
    fresh = not (run / "config.yaml").exists()
    run.open()
    probes, trained = [], []
    for step in steps:
        student = config.student
        if step > 1:
            with _leaving_nothing(run, fresh, trainings[step].out):
                trained.append({"updates": step - 1, **_kept(distill(trainings[step]))})
            student = f"{trainings[step].out}/model"
        out = f"{config.out}/step-{step:06d}"
        # Rollouts of an earlier probe are those of the first student.
        earlier = config.rollouts_from if step == 1 else None
        probe = dataclasses.replace(config, at_steps="1", method="paced", training=None, student=student, rollouts_from=earlier, out=out)
        with _leaving_nothing(run, fresh, out):
            probes.append({"step": step, **run_probe(probe)})
        fresh = False
    return {
        "kind": KIND,
        "config": configs.as_dict(config),
        "steps": probes,
        "training": trained,
        "provenance": provenance(config.seed),
    }


def _kept(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("config", "weights", "segments", "training", "seconds")}


@contextmanager
def _leaving_nothing(run: RunFolder, fresh: bool, first: str) -> Iterator[None]:
    """Remove the run's folder if the command is refused before it made `first`, so that the corrected command can use the same name."""
    try:
        yield
    except UserError:
        if fresh and not Path(first).exists():
            shutil.rmtree(run.path)
        raise
