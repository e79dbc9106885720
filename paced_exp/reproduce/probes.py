"""The probes of figure 2 and claim C1, and those of robustness, beside the grids: what they are run with at a scale, and where records go.

A scale names its probes and what they are run with; models, problems and training come from its distillation setup. The record and the
figure of a finished probe lie under RESULTS/SCALE/NAME.
"""

import dataclasses
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paced_exp.core import config as configs
from paced_exp.core.atomic import atomic_file
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json, write_checked
from paced_exp.probe.config import ProbeConfig, parse_steps
from paced_exp.reproduce.checks import check_probe
from paced_exp.reproduce.records import read_sealed
from paced_exp.reproduce.scales import ProbeVariant, Scale
from paced_exp.snr_probe import probe
from paced_exp.training.config import DistillConfig

# What --table calls the probes behind figure 2 and claim C1, those of robustness, and those against accuracy.
FIGURE, ROBUSTNESS, ALIGNMENT = "figure2", "robustness", "alignment"
PROBE_TABLES = (FIGURE, ROBUSTNESS, ALIGNMENT)
# Where and how a probe is run, not what comes out of it but rounding.
_NEUTRAL_OPTIONS = ("out", "device", "rollouts_from", "loss", "checkpointing")
# Options that came later and are no part of a run's key, so that runs under way are found.
_KEYLESS = ("loss", "checkpointing")
# What the training between two probes has from the cells of the scale.
_TRAINING = ("batch", "micro_batch", "warmup", "rollout_every", "precision", "teacher_statistics")


@dataclass(frozen=True)
class Probe:
    """A probe of a scale. key: its folder under RESULTS/SCALE, such as snr_verdict/qwen3. words: what is probed. table: what --table calls it
    with its like. setup: of the scale, whose models and learning rate it takes."""

    scale: Scale
    key: str
    words: str
    config: ProbeConfig
    table: str = FIGURE
    setup: str = "distillation"

    @property
    def trains(self) -> bool:
        """Whether the student is trained between two of its probes."""
        return parse_steps(self.config.at_steps)[-1] > 1

    @property
    def name(self) -> str:
        """As shown to the user."""
        return f"probe {self.key}"

    @property
    def command(self) -> str:
        """The command that makes the record."""
        return probe_command(self.scale, self.table)

    def folder(self, results: Path) -> Path:
        """Where record and figure go."""
        return results / self.scale.name / self.key

    def path(self, results: Path) -> Path:
        """Where the record goes."""
        return self.folder(results) / "record.json"

    def record(self, results: Path) -> dict[str, Any] | None:
        """The record, None where it was not run. Raises `UserError` for one that is damaged or was made with other options."""
        path = self.path(results)
        if not path.exists():
            return None
        record = read_json(path)
        if not isinstance(record, dict) or not isinstance(record.get("config"), dict) or not all(map(_is_panel, _panels(record))):
            raise UserError(f"{path} is no record of a probe, or damaged; restore it from git, or delete it and run: {self.command}")
        check_probe(path, read_sealed(path))
        stored, ours = (
            {name: value for name, value in options.items() if name not in _NEUTRAL_OPTIONS}
            for options in (record["config"], configs.as_dict(self.config))
        )
        if differing := configs.differing(stored, ours, configs.earlier(ProbeConfig)):
            raise UserError(
                f"{path} was made with other options than the scale has now; differing: {', '.join(differing)}; delete it and run: {self.command}"
            )
        return record

    def work_folder(self, work: Path) -> Path:
        """Where it runs: a folder of its own for its options."""
        kept = {name: value for name, value in configs.without_added(self.config).items() if name not in _KEYLESS}
        options = json.dumps(kept, sort_keys=True)
        digest = hashlib.sha256(options.encode()).hexdigest()[:10]
        return work / self.scale.name / "probes" / f"{self.key.replace('/', '--')}-{digest}"

    def run(self, results: Path, work: Path, *, keep: bool) -> None:
        """Run it, or go on with it, and copy figure and record to the results, the record last."""
        folder = self.work_folder(work)
        drawn = probe(dataclasses.replace(self.config, out=str(folder)))
        for path in drawn:
            with atomic_file(self.folder(results) / path.name) as file:
                file.write(path.read_bytes())
        write_checked(self.path(results), read_json(folder / "record.json"))
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _panels(record: dict[str, Any]) -> list[Any]:
    """The curves of a record: one a step where the probe was run at several."""
    steps = record.get("steps", [record])
    return steps if isinstance(steps, list) else [steps]


def _is_panel(panel: Any) -> bool:
    verdict = panel.get("verdict") if isinstance(panel, dict) and isinstance(panel.get("bins"), list) else None
    return isinstance(verdict, dict) and all(_is_end(verdict.get(end)) for end in ("low", "high"))


def _is_end(end: Any) -> bool:
    """An end that was judged has its interval; one whose bins hold too few problems has no difference."""
    judged = ("difference_low", "difference_high", "middle_low")
    return isinstance(end, dict) and "difference" in end and (end["difference"] is None or all(name in end for name in judged))


def probe_command(scale: Scale, table: str = FIGURE) -> str:
    """The command that runs the probes of a scale."""
    return f"python -m paced_exp.reproduce --scale {scale.name} --table {table}"


def probes_of(scale: Scale, table: str = FIGURE) -> list[Probe]:
    """The probes of a scale behind figure 2 and claim C1, or of another of `PROBE_TABLES`, in its order."""
    declared = {FIGURE: scale.probes, ROBUSTNESS: scale.robustness, ALIGNMENT: scale.alignment}[table]
    return [Probe(scale, variant.key, variant.words, _config(scale, variant), table, variant.setup) for variant in declared]


def _config(scale: Scale, variant: ProbeVariant) -> ProbeConfig:
    setup = scale.setups[variant.setup]
    shared: dict[str, Any] = {name: scale.shared[name] for name in ("max_new_tokens", "dtype", "engine", "loss") if name in scale.shared}
    shared |= {name: value for name, value in setup.options.items() if name in ("teacher_prompt", "fallback")}
    options: dict[str, Any] = {"problems": scale.problems, **shared, **variant.options}
    if "at_steps" in options:
        asked = {name: scale.shared[name] for name in _TRAINING if name in scale.shared} | {"learning_rate": setup.learning_rate}
        asked |= options.get("training", {})
        options["training"] = {name: value for name, value in asked.items() if value != getattr(DistillConfig, name)} or None
    return ProbeConfig(student=setup.student, teacher=setup.teacher, device=scale.device, **options)
