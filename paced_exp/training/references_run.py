"""The run that makes references: load problems and models, sample candidates, choose, and compute the teacher's statistics."""

from typing import Any

from paced_exp.core import config as configs
from paced_exp.core.clock import StageClock
from paced_exp.core.progress import progress
from paced_exp.core.run_folder import RunFolder, provenance
from paced_exp.data.sources import save_problems
from paced_exp.grading import grader as grading
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.groups import RunContext
from paced_exp.rollouts.reference_sources import SampledReferences
from paced_exp.training.build import cached_teacher
from paced_exp.training.inputs import Inputs, load_inputs, recipe_of
from paced_exp.training.masks import parse_mask
from paced_exp.training.references_config import KIND, ReferencesConfig
from paced_exp.training.row_builder import RowBuilder


def sample_references(config: ReferencesConfig) -> dict[str, Any]:
    """Make the references of all problems in the run's folder, for distillations to read, or resume. Returns the record.

    Raises `UserError` for anything that the user can fix.
    """
    run = RunFolder(config.out, config)
    return run.recorded(KIND, lambda: _sample_references(config, run))


def _sample_references(config: ReferencesConfig, run: RunFolder) -> dict[str, Any]:
    engines = Engines(config)
    inputs = load_inputs(config)
    # The folder is created only now: a refused command leaves none, so the corrected command can use the same name.
    run.open().claim(inputs.fingerprints)
    save_problems(inputs.problems, run / "problems.parquet")
    clock = StageClock(run / "seconds.json")
    recipe = recipe_of(config)
    with grading.Grader() as grader, clock("references"):
        references = SampledReferences(RunContext(run.path, engines, grader), recipe, inputs.teacher, inputs.student)
        # As at update 0 of a training in which all problems have the same weight.
        references.add(inputs.problems, 0)
    engines.close()
    with clock("teacher statistics"):
        cache = None if config.teacher_statistics == "none" else _statistics(config, run, inputs, references)
    references.write(run / "references.parquet")
    return {
        "kind": KIND,
        "config": configs.as_dict(config),
        "references": references.summary(),
        "cache": cache,
        "skipped_long": inputs.skipped_long,
        "seconds": clock.seconds,
        "provenance": provenance(config.seed),
    }


def _statistics(config: ReferencesConfig, run: RunFolder, inputs: Inputs, references: SampledReferences) -> dict[str, Any]:
    """Write the teacher's statistics on every reference and return their size. Raises `UserError` if a reference exceeds a model's context."""
    builder = RowBuilder(inputs.problems, inputs.student, inputs.teacher, config.teacher_prompt, parse_mask("all", lambda ids: ""))
    rows = []
    for index, problem in enumerate(inputs.problems):
        if response := references.by_id[problem.id].token_ids:
            builder.check_fits(index, response)
            rows.append(builder.row(index, response, 1.0))
    cache = cached_teacher(config, run, inputs.teacher, inputs.student)
    with progress(len(rows), "references", "teacher statistics") as bar:
        cache.prepare(rows, bar.update)
    return {**cache.size(), "top_k": cache.top_k}
