"""Loads the problems, the student and the teacher, with the same choices and checks for a training and for making its references."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.problem_tables import read_weights
from paced_exp.data.prompt_hashes import check_prompts
from paced_exp.data.prompt_lengths import LongPrompts
from paced_exp.data.prompts import solutions_needed, with_solutions
from paced_exp.data.sources import load_problems, source_fingerprint
from paced_exp.models.loading import LoadedModel, check_same_vocabulary, load_model
from paced_exp.rollouts.references import ReferenceRecipe
from paced_exp.training.config import DistillConfig
from paced_exp.training.options import DA_KD
from paced_exp.training.references_config import ReferencesConfig
from paced_exp.training.stages import parse_stages
from paced_exp.weighting import Weights, normalised


@dataclass(frozen=True)
class Inputs:
    """The problems that fit into the context, the models before training, and how many problems were left out as too long.

    fingerprints: identify everything that was read, for `RunFolder.claim`. weights: read from a file, or DA_KD, or None.
    """

    problems: Sequence[Problem]
    student: LoadedModel
    teacher: LoadedModel
    skipped_long: int
    fingerprints: dict[str, str]
    weights: Weights | str | None


def load_inputs(config: DistillConfig | ReferencesConfig) -> Inputs:
    """Load what `config` names. Raises `UserError` if a file cannot be read, a needed solution is missing, or the models do not fit together."""
    needed = solutions_needed(
        teacher_prompt=config.teacher_prompt,
        reference=config.reference if isinstance(config, DistillConfig) else "teacher",
        fallback=config.fallback,
        on_references=isinstance(config, ReferencesConfig) or any(s.source == "references" for s in parse_stages(config.stages)),
    )
    loaded = load_problems(config.problems, limit=config.limit, seed=config.seed, columns=config.columns)
    problems = list(with_solutions(loaded, needed))
    student = load_model(config.student, device=config.device, dtype="float64" if config.dtype == "float64" else "float32")
    teacher = _initial_teacher(config, student)
    long = LongPrompts([(student, "plain"), (teacher, config.teacher_prompt)], config.max_new_tokens, config.skip_long)
    problems = long.listed(problems)
    fingerprints = {
        "problems": source_fingerprint(config.problems),
        "student": student.fingerprint,
        "teacher": teacher.fingerprint,
    }
    weights: Weights | str | None = config.weights if isinstance(config, DistillConfig) else None
    if isinstance(config, DistillConfig) and config.weights not in (None, DA_KD):
        try:
            given = read_weights(str(config.weights))
        except UserError as error:
            raise UserError(f"`weights`: {error}") from error
        weights = weights_in(given, problems, str(config.weights))
        check_prompts(str(config.weights), problems, f"`weights` {config.weights}")
        fingerprints["weights"] = source_fingerprint(str(config.weights))
    return Inputs(problems, student, teacher, len(long.skipped), fingerprints, weights)


def recipe_of(config: DistillConfig | ReferencesConfig) -> ReferenceRecipe:
    """How references are sampled and chosen, both in a training and in a run that only makes them."""
    return ReferenceRecipe(
        config.candidates, config.fallback, config.teacher_prompt, config.temperature, config.max_new_tokens, config.seed
    )


def weights_in(found: Mapping[str, float], problems: Sequence[Problem], path: str) -> Weights:
    """The weights of `problems`, looked up by id. Raises `UserError` if a problem has none, or if all are zero."""
    lacking = [problem.id for problem in problems if problem.id not in found]
    if lacking:
        raise UserError(
            f"`weights` {path} lacks {len(lacking)} of the {len(problems)} problems, for example {lacking[0]!r}; make it with the same "
            "`problems`, `limit` and `seed`, and give problems to be left out the weight 0"
        )
    values = np.array([found[problem.id] for problem in problems])
    if not values.any():
        raise UserError(f"`weights` {path} gives all {len(problems)} problems the weight zero, so there is nothing to train on")
    return normalised(values)


def _initial_teacher(config: DistillConfig | ReferencesConfig, student: LoadedModel) -> LoadedModel:
    """The teacher before training: another model, or the student as it was, both in the precision of teachers."""
    teacher = load_model(config.student if config.teacher == "self" else config.teacher, device=config.device, dtype=config.dtype)
    check_same_vocabulary(student, teacher)
    teacher.model.requires_grad_(False)
    return teacher
