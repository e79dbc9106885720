"""The supply of a run: for every update its rows, from pass rates, weights, references and rollouts, each made when first needed and kept.

Everything made with the student's current weights lies in a file named after the update it was made at. After a kill the run goes back to
its last checkpoint; what was made since is read back, and would come out the same if it were made again.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import PromptKind, prompt_ids
from paced_exp.grading.grader import Grader
from paced_exp.losses.alignment import Row, check_fits, make_row
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Prompt, rollout_seed
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.groups import Buffer, Processes, made_once
from paced_exp.rollouts.reference_supply import ReferenceSupply
from paced_exp.rollouts.references import vocabulary_of
from paced_exp.rollouts.rows import outside
from paced_exp.rollouts.store import ChunkStore
from paced_exp.training.counts import Counts, counts_name, counts_of, roll_out
from paced_exp.training.masks import Mask
from paced_exp.training.sampler import Sampler
from paced_exp.training.segments import Plan, Segment, make_plan
from paced_exp.weighting import Weighting, Weights, normalised, weigh


@dataclass(frozen=True)
class SupplyOptions:
    """What decides the rows, besides models and problems.

    K, temperature, max_new_tokens: of rollouts. batch: problems an update. rollout_every: updates that share one set of on-policy
    rollouts. teacher_prompt: what the teacher reads before the response.
    """

    weighting: Weighting
    weight_by: str
    K: int
    temperature: float
    max_new_tokens: int
    batch: int
    rollout_every: int
    teacher_prompt: PromptKind
    seed: int


@dataclass(frozen=True)
class Prepared:
    """A segment that has what it needs: passes and rollouts (None where the method needs none), weights, and the plan."""

    counts: Counts | None
    weights: Weights
    plan: Plan


class Supply:
    """Rows by update.

    student: the model in training, whose weights change under the supply's feet. reader: whose tokenizer and context the teacher's prompts
    must suit, if not the student's. counts: of the student at the start; None for a method that needs none.
    """

    def __init__(
        self,
        folder: Path,
        options: SupplyOptions,
        problems: Sequence[Problem],
        segments: Sequence[Segment],
        student: LoadedModel,
        reader: LoadedModel,
        references: ReferenceSupply,
        mask: Mask,
        grader: Grader,
        counts: Counts | None,
        processes: Processes,
        engines: Engines,
    ) -> None:
        self.folder = folder
        self.options = options
        self.problems = list(problems)
        self.segments = list(segments)
        self.student = student
        self.references = references
        self.prepared: list[Prepared] = []
        self._reader = reader
        self._mask = mask
        self._grader = grader
        self._counts = counts
        self._processes = processes
        self._engines = engines
        self._sampler = Sampler(student, processes)
        self._block: tuple[int, list[list[int]]] | None = None
        self._prompts: dict[int, tuple[list[int], list[int]]] = {}

    def segment(self, step: int) -> int:
        """Which segment update `step` belongs to."""
        return next(index for index, segment in enumerate(self.segments) if step < segment.end)

    def prepare(self, step: int) -> Prepared:
        """Have ready what the segment of update `step` needs; the segments before it are read back."""
        index = self.segment(step)
        while len(self.prepared) <= index:
            self.prepared.append(self._next(step))
        return self.prepared[index]

    def rows(self, step: int, places: Sequence[int]) -> list[Row]:
        """The rows at `places` (0 .. batch-1) of update `step`, to be called with the student as it is before that update."""
        plan, segment = self.prepare(step).plan, self.segments[self.segment(step)]
        first = (step - segment.start) * self.options.batch
        chosen = [int(plan.indices[first + place]) for place in places]
        if segment.stage.source == "references":
            responses = [self._reference(index) for index in chosen]
        else:
            start, made = self._rollouts(step, plan, segment)
            responses = [made[(step - start) * self.options.batch + place] for place in places]
        return [self.row(index, response, float(plan.weights[index])) for index, response in zip(chosen, responses, strict=True)]

    def row(self, index: int, response: list[int], weight: float) -> Row:
        """Problem `index` with a response."""
        student_prompt, teacher_prompt = self._prompt_pair(index)
        return make_row(self.problems[index].id, student_prompt, teacher_prompt, response, self._mask(response), weight)

    def _prompt_pair(self, index: int) -> tuple[list[int], list[int]]:
        if index not in self._prompts:
            problem = self.problems[index]
            plain = prompt_ids(self.student.tokenizer, problem)
            self._prompts[index] = plain, prompt_ids(self._reader.tokenizer, problem, self.options.teacher_prompt)
        return self._prompts[index]

    def reference_rows(self, step: int) -> list[Row]:
        """A row for every problem that may be trained on in the segment of `step`: what a teacher cache must hold."""
        return [self.row(index, self._reference(index), 1.0) for index in self.prepare(step).weights.kept.tolist()]

    def _reference(self, index: int) -> list[int]:
        return self.references.by_id[self.problems[index].id].token_ids

    # ---- what a segment needs

    def _next(self, step: int) -> Prepared:
        index = len(self.prepared)
        segment = self.segments[index]
        if segment.recompute:
            counts = self._recomputed(segment, step)
        else:
            counts = self.prepared[-1].counts if self.prepared else self._counts
        # Without pass rates every weight is the same, whatever the counts.
        k, K = counts if counts is not None else (np.zeros(len(self.problems), dtype=int), np.ones(len(self.problems), dtype=int))
        weights = weigh(self.options.weighting, k, K)
        if segment.stage.source == "references":
            weights = self._with_references(segment, weights)
        self._check_contexts(segment, weights)
        cursor = self.prepared[-1].plan.cursor if self.prepared else 0
        plan = make_plan(segment, weights, self.options.batch, self.options.weight_by, self.options.seed, cursor)
        return Prepared(counts, weights, plan)

    def _check_contexts(self, segment: Segment, weights: Weights) -> None:
        """Raise `UserError` naming a problem whose reference, or longest possible rollout, exceeds a model's context: now, not updates later."""
        longest = [0] * self.options.max_new_tokens
        for index in weights.kept.tolist():
            response = self._reference(index) if segment.stage.source == "references" else longest
            for model, prompt in zip((self.student.model, self._reader.model), self._prompt_pair(index), strict=True):
                check_fits(model, prompt, response, self.problems[index].id)

    def _recomputed(self, segment: Segment, step: int) -> Counts | None:
        """Pass rates of the student as it is at the segment's start; None where the method needs none."""
        options, name = self.options, counts_name(segment.start)
        if not options.weighting.needs_pass_rates:
            return None
        self._require(name, [problem.id for problem in self.problems], segment.start, step)
        seed = rollout_seed(options.seed, name, 0)
        store = roll_out(
            self.folder,
            segment.start,
            self._sampler.current(),
            self.problems,
            self._grader,
            self._processes,
            self._engines,
            K=options.K,
            temperature=options.temperature,
            max_new_tokens=options.max_new_tokens,
            seed=seed,
        )
        return counts_of(store, self.problems)

    def _require(self, name: str, ids: Sequence[str], made_at: int, step: int) -> None:
        """What was made at an update that is past must be there, all of it: the student that made it is not."""
        path = self.folder / f"{name}.jsonl"
        if made_at < step and not (path.exists() and ChunkStore(self.folder, name).done_ids() >= set(ids)):
            what = "lacks rollouts" if path.exists() else "is missing"
            raise UserError(f"{path} {what}, though the run had passed update {made_at}; delete {self.folder} and start again")

    def _with_references(self, segment: Segment, weights: Weights) -> Weights:
        """`weights` with the problems dropped whose reference is missing or has no supervised token; makes the references not made yet."""
        self.references.add([self.problems[index] for index in weights.kept], segment.start)
        lacking = [index for index in weights.kept.tolist() if not any(self._mask(self._reference(index)))]
        if not lacking:
            return weights
        if len(lacking) == len(weights.kept):
            raise UserError(
                "no problem of positive weight has a correct reference with a supervised token; raise `candidates`, take `fallback` solution, "
                "or check `supervise`"
            )
        values = weights.values.copy()
        values[lacking] = 0
        return normalised(values)

    # ---- the student's own rollouts

    def _rollouts(self, step: int, plan: Plan, segment: Segment) -> tuple[int, list[list[int]]]:
        """(start of the block of updates that `step` is in, a response for each of the block's places)."""
        every, batch = self.options.rollout_every, self.options.batch
        start = segment.start + (step - segment.start) // every * every
        if self._block is not None and self._block[0] == start:
            return self._block
        end = min(start + every, segment.end)
        indices = plan.indices[(start - segment.start) * batch : (end - segment.start) * batch].tolist()
        # A problem may come more than once in a block: each time is a rollout of its own.
        prompts = [
            Prompt(f"{place}:{self.problems[index].id}", prompt_ids(self.student.tokenizer, self.problems[index]))
            for place, index in enumerate(indices)
        ]
        name = f"rollouts-{start:06d}"
        self._require(name, [prompt.problem_id for prompt in prompts], start, step)

        def generate(group: list[Prompt], buffer: Buffer) -> None:
            made = engine.generate(
                group,
                samples=1,
                max_new_tokens=self.options.max_new_tokens,
                temperature=self.options.temperature,
                seed=rollout_seed(self.options.seed, name, 0),
            )
            for rollouts in made:
                buffer.append([asdict(rollout) for rollout in rollouts])

        self.student.model.eval()
        engine = self._engines.of(self._sampler.current(), live=True)
        store = made_once(
            self.folder, name, prompts, lambda prompt: prompt.problem_id, generate, self._processes, size=max(1, len(prompts))
        )
        self.student.model.train()
        store.check_samples([prompt.problem_id for prompt in prompts], 1)
        self._block = start, [self._stored(store, prompt.problem_id) for prompt in prompts]
        return self._block

    def _stored(self, store: ChunkStore, name: str) -> list[int]:
        """The response stored under `name`. Raises `UserError` for one that the student cannot read."""
        response: list[int] = store.rows_of(name)[0]["token_ids"]
        token = outside(response, vocabulary_of(self.student))
        if not response or token is not None:
            what = "has no tokens" if token is None else f"holds token id {token}, outside the student's vocabulary"
            raise UserError(f"{store.where(name)}: the rollout of {name!r} {what}; delete {self.folder} and start again")
        return response
