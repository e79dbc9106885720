"""The probe before several updates of a training run: figure 2 of the paper has update 1 and update 20.

The probe of update s looks at the student after s - 1 updates: it rolls that student out again for its pass rates, and takes the gradients
that update s would meet. A problem's reference is the same at every update. Each probe and each training is a run in a folder of its own.
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
from paced_exp.probe.run import run_probe
from paced_exp.training.config import DistillConfig
from paced_exp.training.run import distill

KIND = "snr_probe_at_steps"
# Options of the training that the probe decides.
_SHARED = (
    "student",
    "teacher",
    "problems",
    "columns",
    "K",
    "temperature",
    "max_new_tokens",
    "candidates",
    "fallback",
    "teacher_prompt",
    "engine",
    "engine_options",
    "device",
    "dtype",
    "seed",
)
_DECIDED = (*_SHARED, "method", "stages", "reference", "steps", "evaluate", "out")


def parse_steps(text: str) -> list[int]:
    """Updates from "1,20". Raises `UserError` unless they are ascending whole numbers of at least 1."""
    parts = [part.strip() for part in text.split(",")]
    steps = [int(part) for part in parts if part.isdecimal()]
    if len(steps) < len(parts) or steps[0] < 1 or steps != sorted(set(steps)):
        raise UserError(f"`at_steps` {text} must be ascending whole numbers of at least 1 joined by commas, such as 1,20")
    return steps


def training_config(config: Any, step: int) -> Any:
    """The `DistillConfig` of the training up to the probe of update `step` > 1: the probe's divergence and responses, a constant rate.

    A rate that falls to zero at the end would make the student at update 20 depend on how many updates follow; `config.training` may set it
    and all else that the probe does not decide. Raises `UserError` for options that cannot be.
    """

    further = config.training or {}
    known = {field.name for field in dataclasses.fields(DistillConfig)}
    for name in further:
        if name in _DECIDED or name not in known:
            raise UserError(
                f"`training` may not set {name!r}: {'the probe decides it' if name in _DECIDED else 'paced_exp.distill has no such option'}"
            )
    options = {name: getattr(config, name) for name in _SHARED} | {"schedule": "constant"} | further
    return DistillConfig(
        method=config.method,
        stages=f"{config.divergence}@{'rollouts' if config.response == 'rollout' else 'references'}",
        reference="solution" if config.response == "solution" else "teacher",
        steps=step - 1,
        evaluate="none",
        out=f"{config.out}/training-{step - 1:06d}",
        **options,
    )


def run_at_steps(config: Any) -> dict[str, Any]:
    """Probe before every update of `config.at_steps` and return the record: a probe's record under `steps` for each, the training's beside it.

    Raises `UserError` for anything the user can mend; killed, the same call continues.
    """
    run = RunFolder(config.out, config)
    return run.recorded(KIND, lambda: _run_at_steps(config, run))


def _run_at_steps(config: Any, run: RunFolder) -> dict[str, Any]:

    steps = parse_steps(config.at_steps)
    trainings = {step: training_config(config, step) for step in steps if step > 1}  # all options are checked before any work
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
    """A command that is refused before it made anything, in the folder `first`, leaves none behind to be in the way of its correction."""
    try:
        yield
    except UserError:
        if fresh and not Path(first).exists():
            shutil.rmtree(run.path)
        raise
