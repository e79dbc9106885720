"""Checks the files of other runs that a training will read, before anything is rolled out."""

from pathlib import Path

from paced_exp.rollouts.pass_rates import Fingerprint
from paced_exp.rollouts.reference_sources import read_from
from paced_exp.rollouts.references import vocabulary_of
from paced_exp.training.config import DistillConfig
from paced_exp.training.counts import given_counts
from paced_exp.training.inputs import Inputs, recipe_of
from paced_exp.weighting.early_stopping import check_estimate


def check_other_runs(config: DistillConfig, inputs: Inputs) -> None:
    """Read the pass rates and references of other runs that `config` names, in the same way as the training will.

    Raises `UserError` if a file cannot be read, or belongs to another student, teacher or recipe.
    """
    if config.pass_rates is not None and config.needs_pass_rates:
        fingerprint = Fingerprint.of(inputs.student, temperature=config.temperature, max_new_tokens=config.max_new_tokens)
        given_counts(config.pass_rates, fingerprint, inputs.problems)
        check_estimate(config.estimate, config.pass_rates)
    if config.references is not None and config.reference == "teacher":
        recipe = recipe_of(config)
        vocabulary = min(vocabulary_of(inputs.teacher), vocabulary_of(inputs.student))
        read_from(Path(config.references), recipe.header(inputs.teacher), vocabulary)
