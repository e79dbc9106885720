"""The rows of every update, made from pass rates, weights, references and rollouts; each of these is made when it is first needed, and kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.losses.alignment import Row
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.reference_sources import ReferenceSource, SampledReferences, WorkedSolutions
from paced_exp.training.config import DistillConfig
from paced_exp.training.counts import Measured, replaced
from paced_exp.training.da_kd import da_kd_weights
from paced_exp.training.inputs import recipe_of
from paced_exp.training.masks import parse_mask
from paced_exp.training.options import DA_KD
from paced_exp.training.row_builder import RowBuilder
from paced_exp.training.segments import Passing, Plan, Segment, make_plan, make_segments, unvisited
from paced_exp.training.stages import parse_stages
from paced_exp.training.student_rollouts import StudentRollouts
from paced_exp.weighting import Weighting, Weights, normalised, weigh


@dataclass(frozen=True)
class BatchOptions:
    """The options that determine which problems an update trains on, and with which weights.

    given: the weights of all segments; DA_KD if they are computed on the references; None if `weighting` computes them from pass rates.
    rollout_every: number of updates that share one set of the student's rollouts.
    """

    weighting: Weighting
    given: Weights | str | None
    passing: Passing
    rollout_every: int
    seed: int

    @property
    def batch(self) -> int:
        """Problems per update."""
        return self.passing.batch


@dataclass(frozen=True)
class Prepared:
    """What a segment trains on: the pass rates (None if the method needs none), the weights, and the plan."""

    measured: Measured | None
    weights: Weights
    plan: Plan


class TrainingData:
    """Gives the rows of every update.

    rows, rollouts: for the same problems and student. measured: of that student before training; None if the method needs no pass rates.
    """

    def __init__(
        self,
        options: BatchOptions,
        segments: Sequence[Segment],
        rows: RowBuilder,
        references: ReferenceSource,
        rollouts: StudentRollouts,
        measured: Measured | None,
    ) -> None:
        self.options = options
        self.segments = list(segments)
        self.references = references
        self.prepared: list[Prepared] = []
        self._rows = rows
        self._rollouts = rollouts
        self._measured = measured
        self._block: tuple[int, list[list[int]]] | None = None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self._rollouts.context.folder

    @property
    def student(self) -> LoadedModel:
        """The model in training."""
        return self._rollouts.student

    @property
    def problems(self) -> Sequence[Problem]:
        """All problems, with and without weight."""
        return self._rows.problems

    def segment(self, step: int) -> int:
        """Which segment update `step` belongs to."""
        return next(index for index, segment in enumerate(self.segments) if step < segment.end)

    def prepare(self, step: int) -> Prepared:
        """Prepare the segment of update `step`, and those before it; what was made earlier is read back."""
        index = self.segment(step)
        while len(self.prepared) <= index:
            self.prepared.append(self._next(step))
        return self.prepared[index]

    def rows(self, step: int, places: Sequence[int]) -> list[Row]:
        """The rows at `places` (0 .. batch-1) of update `step`. Must be called just before that update, since the student may roll out here."""
        plan, segment = self.prepare(step).plan, self.segments[self.segment(step)]
        first = (step - segment.start) * self.options.batch
        chosen = [int(plan.indices[first + place]) for place in places]
        if segment.stage.source == "references":
            responses = [self._reference(index) for index in chosen]
        else:
            start, made = self._on_policy(step, plan, segment)
            responses = [made[(step - start) * self.options.batch + place] for place in places]
        return [self._rows.row(index, response, float(plan.weights[index])) for index, response in zip(chosen, responses, strict=True)]

    def reference_rows(self, step: int) -> list[Row]:
        """A row for every problem in the segment of `step`, for the teacher cache."""
        return [self._rows.row(index, self._reference(index), 1.0) for index in np.unique(self.prepare(step).plan.indices).tolist()]

    def _reference(self, index: int) -> list[int]:
        return self.references.by_id[self.problems[index].id].token_ids

    def _next(self, step: int) -> Prepared:
        segment, before, options = self.segments[len(self.prepared)], self.prepared[-1] if self.prepared else None, self.options
        measured = self._measured if before is None else before.measured
        cursor = 0 if before is None else before.plan.cursor
        ahead = np.arange(len(self.problems))
        if segment.recompute and measured is not None and options.given is None and options.weighting.needs_pass_rates:
            if options.passing.regime == "one-pass":  # visited and skipped problems do not come again
                ahead = np.sort(unvisited(len(self.problems), options.seed, cursor))
            graded = self._rollouts.graded(segment.start, step, ahead.tolist())
            measured = measured.replaced(ahead, Measured.of_graded(graded, [self.problems[index] for index in ahead.tolist()]))
        weights, usable = self._weights(segment, measured, ahead)
        plan = make_plan(segment, weights, options.passing, options.seed, cursor, usable)
        self._check_contexts(segment, plan)
        return Prepared(measured, weights, plan)

    def _weights(self, segment: Segment, measured: Measured | None, ahead: np.ndarray) -> tuple[Weights, np.ndarray | None]:
        """The weights of a segment, zero for problems that cannot be trained on, and a flag for each problem that can (None if all can).

        ahead: the problems that may still come, all with pass rates of the same student; the others get weight zero.
        """
        options, count = self.options, len(self.problems)
        if isinstance(options.given, Weights):
            weights = options.given
        elif options.given == DA_KD:
            weights = normalised(np.ones(count))
        else:
            # A method without pass rates gives every problem the same weight, so any counts will do.
            k, K = (np.zeros(count, dtype=int), np.ones(count, dtype=int)) if measured is None else (measured.k, measured.K)
            weights = weigh(options.weighting, k[ahead], K[ahead])
            if len(ahead) < count:
                weights = normalised(replaced(np.zeros(count), ahead, weights.values))
        if segment.stage.source != "references":
            return weights, None
        asked = weights.kept if options.passing.accounting == "equal-updates" else np.arange(count)
        usable = self._with_references(segment, asked)
        if options.given == DA_KD:
            places = np.flatnonzero(usable).tolist()
            rows = [self._rows.row(index, self._reference(index), 1.0) for index in places]
            return da_kd_weights(rows, places, count, self.student, self._rows.teacher), usable
        if not usable[weights.kept].all():
            if not usable[weights.kept].any():
                raise UserError(
                    "no problem of positive weight has a correct reference with a supervised token; raise `candidates`, take `fallback` solution, "
                    "or check `supervise`"
                )
            weights = normalised(np.where(usable, weights.values, 0.0))
        return weights, usable

    def _with_references(self, segment: Segment, asked: np.ndarray) -> np.ndarray:
        """For each problem, whether it is in `asked` and has a reference with a supervised token. Makes missing references."""
        self.references.add([self.problems[index] for index in asked], segment.start)
        usable = np.zeros(len(self.problems), dtype=bool)
        usable[[index for index in asked.tolist() if any(self._rows.mask(self._reference(index)))]] = True
        return usable

    def _check_contexts(self, segment: Segment, plan: Plan) -> None:
        """Raise `UserError` if a problem's reference, or its longest possible rollout, exceeds a model's context, before the segment begins."""
        longest = [0] * self._rollouts.sampling.max_new_tokens
        for index in np.unique(plan.indices).tolist():
            self._rows.check_fits(index, self._reference(index) if segment.stage.source == "references" else longest)

    def _on_policy(self, step: int, plan: Plan, segment: Segment) -> tuple[int, list[list[int]]]:
        """The first update of the block that shares rollouts with `step`, and a response for every place in the block."""
        every, batch = self.options.rollout_every, self.options.batch
        start = segment.start + (step - segment.start) // every * every
        if self._block is None or self._block[0] != start:
            end = min(start + every, segment.end)
            indices = plan.indices[(start - segment.start) * batch : (end - segment.start) * batch].tolist()
            self._block = start, self._rollouts.responses(indices, start, step)
        return self._block


def make_training_data(
    config: DistillConfig, rollouts: StudentRollouts, teacher: LoadedModel, measured: Measured | None, given: Weights | str | None = None
) -> TrainingData:
    """The training data of `config`. With `epochs`, the number of updates depends on how many problems have a positive weight.

    teacher: before training. measured: see `TrainingData`. given: see `BatchOptions`. Raises `UserError` for unsuitable references of another run.
    """
    student, problems, weighting = rollouts.student, rollouts.problems, config.weighting()
    kept = (
        len(given.kept)
        if isinstance(given, Weights)
        else len(problems)
        if measured is None
        else len(weigh(weighting, measured.k, measured.K).kept)
    )
    steps = config.updates(kept)
    references: ReferenceSource = WorkedSolutions(student)
    if config.reference == "teacher":
        recipe = recipe_of(config)
        references = SampledReferences(rollouts.context, recipe, teacher, student, config.references)
    return TrainingData(
        BatchOptions(
            weighting,
            given,
            Passing(config.batch, config.weight_by, config.regime, config.accounting),
            config.rollout_every,
            config.seed,
        ),
        make_segments(parse_stages(config.stages), steps, config.recompute),
        RowBuilder(problems, student, teacher, config.teacher_prompt, parse_mask(config.supervise, student.tokenizer.decode)),
        references,
        rollouts,
        measured,
    )
