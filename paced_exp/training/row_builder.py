"""Makes rows for training from problems and responses: the prompts of student and teacher, and the supervised tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from paced_exp.data.problem import Problem
from paced_exp.data.prompts import PromptKind, prompt_ids
from paced_exp.losses.alignment import Row, check_fits, make_row
from paced_exp.models.loading import LoadedModel
from paced_exp.training.masks import Mask


@dataclass(frozen=True)
class RowBuilder:
    """Makes rows of `problems`, which are given by their index.

    teacher: before training; it may be the student itself. teacher_prompt: what it reads before the response. mask: the supervised tokens.
    """

    problems: Sequence[Problem]
    student: LoadedModel
    teacher: LoadedModel
    teacher_prompt: PromptKind
    mask: Mask

    def row(self, index: int, response: list[int], weight: float) -> Row:
        """The row of problem `index` with this response and weight."""
        student_prompt, teacher_prompt = self._prompts_of(index)
        return make_row(self.problems[index].id, student_prompt, teacher_prompt, response, self.mask(response), weight)

    def check_fits(self, index: int, response: Sequence[int]) -> None:
        """Raise `UserError` naming problem `index` if prompt and response exceed the context of the student or the teacher."""
        for model, prompt in zip((self.student.model, self.teacher.model), self._prompts_of(index), strict=True):
            check_fits(model, prompt, response, self.problems[index].id)

    def _prompts_of(self, index: int) -> tuple[list[int], list[int]]:
        if index not in self._prompts:
            problem = self.problems[index]
            teachers = prompt_ids(self.teacher.tokenizer, problem, self.teacher_prompt)
            self._prompts[index] = prompt_ids(self.student.tokenizer, problem), teachers
        return self._prompts[index]

    @cached_property
    def _prompts(self) -> dict[int, tuple[list[int], list[int]]]:
        return {}
