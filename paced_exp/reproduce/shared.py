"""Work that several cells share, done once: pass rates, references with teacher statistics, the evaluation of the untrained student, and
pools chosen by pass rate.

Each is a finished run of one of this package's own commands in a folder under WORK/SCALE/shared, so that what a cell reads is what a
user would give it with --pass-rates, --references, --cache and --base-evaluation.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paced_exp.core import config as configs
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.reproduce.cells import NEUTRAL_OPTIONS, Cell, base_cell
from paced_exp.reproduce.chosen_pools import PoolsConfig, choose_pools, pool_path
from paced_exp.rollouts.config import RolloutConfig
from paced_exp.training.config import DistillConfig
from paced_exp.training.references_config import ReferencesConfig, references_for
from paced_exp.training.stages import parse_stages
from paced_exp.training.teacher_config import TeacherConfig


@dataclass(frozen=True)
class Shared:
    """A piece of shared work: pass_rates, references, base or pools, with the configuration that makes it and the folder it lies in.

    after: the piece that must be done first.
    """

    kind: str
    config: RolloutConfig | ReferencesConfig | EvaluateConfig
    after: "Shared | None" = None

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(self.config.out)

    @property
    def name(self) -> str:
        """As shown to the user."""
        return f"shared {self.folder.name}"

    @property
    def done(self) -> bool:
        """Whether it is finished."""
        return (self.folder / "record.json").exists()

    def run(self) -> None:
        """Do it, or go on with it."""
        # torch takes seconds to load; what only asks what there is to do does without it.
        if isinstance(self.config, PoolsConfig):
            choose_pools(self.config)
        elif isinstance(self.config, RolloutConfig):
            from paced_exp.rollouts.run import roll_out

            roll_out(self.config)
        elif isinstance(self.config, ReferencesConfig):
            from paced_exp.training.references_run import sample_references

            sample_references(self.config)
        else:
            from paced_exp.evaluation.run import evaluate

            evaluate(self.config)


def shared_by(cell: Cell, work: Path) -> dict[str, Shared]:
    """What `cell` needs before it can run, by kind."""
    found = {"base": _base(cell, work)}
    config = cell.config
    if not isinstance(config, DistillConfig):
        return found
    pools = None
    if cell.chosen is not None:
        found["pools"] = pools = _pools(cell, work)
        config = dataclasses.replace(config, problems=str(pool_path(pools.folder, cell.chosen)))
    if config.needs_pass_rates:
        rollout = RolloutConfig(
            student=config.student,
            problems=config.problems,
            K=config.K,
            limit=config.limit,
            columns=config.columns,
            seed=config.seed,
            **_sampled_as(config),
        )
        found["pass_rates"] = _placed("pass_rates", rollout, cell, work, f"pass-rates-k{config.K}-s{config.seed}", pools)
    if config.reference == "teacher" and any(stage.source == "references" for stage in parse_stages(config.stages)):
        found["references"] = _placed("references", references_for(config), cell, work, f"references-s{config.seed}", pools)
    return found


def _sampled_as(config: DistillConfig) -> dict[str, Any]:
    """The options of rollouts of the student of `config` as it samples: in the precision that it trains in, so that pass rates are of the same model."""
    names = ("temperature", "max_new_tokens", "engine", "engine_options", "device")
    return {name: getattr(config, name) for name in names} | {"dtype": "bfloat16" if config.precision == "bf16" else "float32"}


def with_shared(cell: Cell, work: Path, out: Path) -> DistillConfig | TeacherConfig | EvaluateConfig:
    """The cell's configuration in its folder `out`, reading the shared work."""
    needed = shared_by(cell, work)
    if isinstance(cell.config, EvaluateConfig):
        return dataclasses.replace(cell.config, out=str(out))
    if isinstance(cell.config, TeacherConfig):
        return dataclasses.replace(cell.config, out=str(out), base_evaluation=str(needed["base"].folder))
    options: dict[str, Any] = {"out": str(out), "base_evaluation": str(needed["base"].folder)}
    if cell.chosen is not None:
        options["problems"] = str(pool_path(needed["pools"].folder, cell.chosen))
    if "pass_rates" in needed:
        options["pass_rates"] = str(needed["pass_rates"].folder / "pass_rates.parquet")
    if "references" in needed:
        options |= {"references": str(needed["references"].folder), "cache": str(needed["references"].folder / "teacher_cache")}
    return dataclasses.replace(cell.config, **options)


def _base(cell: Cell, work: Path) -> Shared:
    base = base_cell(cell.scale, cell.setup).config
    assert isinstance(base, EvaluateConfig)
    own = cell.config
    samples, limit = own.samples, own.limit if isinstance(own, EvaluateConfig) else own.evaluate_limit
    prompt = own.prompt if isinstance(own, EvaluateConfig) else base.prompt
    base = dataclasses.replace(base, samples=samples, limit=limit, prompt=prompt)
    return _placed("base", base, cell, work, "base")


def _pools(cell: Cell, work: Path) -> Shared:
    """The pools of the cell's scale, chosen by rollouts of the untrained student of its setup."""
    plan, config = cell.scale.chosen, cell.config
    assert plan is not None and isinstance(config, DistillConfig), "a row of a chosen pool is a training at a scale that has such pools"
    made = PoolsConfig(
        student=config.student,
        problems=plan.source,
        K=plan.K,
        limit=plan.drawn,
        seed=plan.seed,
        size=plan.size,
        share=plan.share,
        **_sampled_as(config),
    )
    return _placed("pools", made, cell, work, "pools")


def _placed(
    kind: str, config: RolloutConfig | ReferencesConfig | EvaluateConfig, cell: Cell, work: Path, name: str, after: Shared | None = None
) -> Shared:
    """`config` in a folder whose name tells what it is and whose hash changes with what decides it."""
    decisive = {key: value for key, value in configs.as_dict(config).items() if key not in NEUTRAL_OPTIONS}
    digest = hashlib.sha256(json.dumps([kind, decisive], sort_keys=True).encode()).hexdigest()[:10]
    return Shared(kind, dataclasses.replace(config, out=str(work / cell.scale.name / "shared" / f"{name}-{digest}")), after)
