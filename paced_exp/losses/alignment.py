"""Where student and teacher predict the same tokens, whatever their prompts.

Student and teacher read the same response behind prompts of their own. Each sequence is prompt ids + response ids, cut before its last
supervised token and padded on the right. A causal model's outputs at real positions do not see the padding behind them, so no attention
mask is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from paced_exp.core.errors import UserError
from paced_exp.models.head_input import head_input


@dataclass(frozen=True)
class Row:
    """A problem with its response: the two prompts, the response both models read, a flag a response token, and the weight (mean one).

    Raises `UserError` where no response token is supervised.
    """

    problem_id: str
    student_prompt: list[int]
    teacher_prompt: list[int]
    response: list[int]
    supervised: list[bool]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not any(self.supervised):
            raise UserError(f"problem {self.problem_id!r} has no supervised response token, so it has no loss; drop the problem")

    @property
    def student_tokens(self) -> int:
        """Tokens the student reads."""
        return len(self.student_prompt) + self.response_tokens

    @property
    def teacher_tokens(self) -> int:
        """Tokens the teacher reads."""
        return len(self.teacher_prompt) + self.response_tokens

    @property
    def response_tokens(self) -> int:
        """Response tokens read: those before the last supervised one, which is predicted only."""
        return len(self.supervised) - 1 - self.supervised[::-1].index(True)


def make_row(
    problem_id: str, student_prompt: list[int], teacher_prompt: list[int], response: list[int], supervised: list[bool], weight: float
) -> Row:
    """A `Row`; where the mask leaves no token (a rollout without an answer, supervised on answers) it counts for nothing: weight zero."""
    if not any(supervised):
        supervised, weight = [True, *[False] * (len(response) - 1)], 0.0
    return Row(problem_id, student_prompt, teacher_prompt, response, supervised, weight)


@dataclass(frozen=True)
class ModelInput:
    """What a model reads of a batch: padded ids (B, L), and which of the last W positions predict a supervised token, (B, W) bool.

    positions (B, L): position ids, None where the model numbers the tokens itself.
    """

    ids: torch.Tensor
    predicting: torch.Tensor
    positions: torch.Tensor | None = None

    def to(self, device: torch.device) -> "ModelInput":
        """The input on `device`."""
        return ModelInput(self.ids.to(device), self.predicting.to(device), None if self.positions is None else self.positions.to(device))


@dataclass(frozen=True)
class Batch:
    """B rows with N supervised tokens.

    student, teacher: what each model reads. tokens (N,): the supervised tokens, row by row. layout (B, R) bool: how the N values lie in rows.
    weights (B,) float64.
    """

    rows: list[Row]
    student: ModelInput
    teacher: ModelInput
    tokens: torch.Tensor
    layout: torch.Tensor
    weights: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`."""
        tensors = (value.to(device) for value in (self.tokens, self.layout, self.weights))
        return Batch(self.rows, self.student.to(device), self.teacher.to(device), *tensors)


def collate(rows: Sequence[Row], pad_id: int, *, positions: bool = False) -> Batch:
    """Rows as tensors, of which both models' marked positions predict the same tokens.

    positions: give every row position ids of its own. A model with learnt positions looks them up once for the whole batch otherwise, and
    that layer's output is not one a problem.
    """
    student = _model_input([(row.student_prompt, row) for row in rows], pad_id, positions)
    teacher = _model_input([(row.teacher_prompt, row) for row in rows], pad_id, positions)
    tokens = [token for row in rows for token, flag in zip(row.response, row.supervised, strict=True) if flag]
    assert int(student.predicting.sum()) == int(teacher.predicting.sum()) == len(tokens), "student and teacher predict different spans"
    counts = torch.tensor([sum(row.supervised) for row in rows])
    layout = torch.arange(int(counts.max())) < counts[:, None]
    return Batch(
        list(rows), student, teacher, torch.tensor(tokens), layout, torch.tensor([row.weight for row in rows], dtype=torch.float64)
    )


def _model_input(pairs: list[tuple[list[int], Row]], pad_id: int, positions: bool) -> ModelInput:
    texts = [[*prompt, *row.response[: row.response_tokens]] for prompt, row in pairs]
    width = max(len(text) for text in texts)
    ids = torch.tensor([text + [pad_id] * (width - len(text)) for text in texts])
    predicting = torch.zeros_like(ids, dtype=torch.bool)
    for index, (prompt, row) in enumerate(pairs):
        # Position t predicts the token at t + 1, so the first response token is predicted by the last prompt token.
        flags = torch.tensor(row.supervised[: row.response_tokens + 1])
        predicting[index, len(prompt) - 1 : len(prompt) + row.response_tokens] = flags
    first = int(predicting.any(0).nonzero()[0])
    return ModelInput(ids, predicting[:, first:], torch.arange(width).expand_as(ids) if positions else None)


def supervised_logits(model: Any, read: ModelInput) -> torch.Tensor:
    """Logits (N, V) at the marked positions. With gradients, the head runs on all positions from the first marked one of any row on, so that every
    layer's output is one row a problem; without, on the marked ones alone.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()  # a wrapped model shows none
    if torch.is_grad_enabled() or head is None:
        return last_logits(model, read)[read.predicting]
    with head_input(head, lambda states: states[read.predicting][None]):
        return last_logits(model, read)[0]


def last_logits(model: Any, read: ModelInput) -> torch.Tensor:
    """Logits (B, W, V) from one forward pass, at the last W positions, of which `read.predicting` marks some."""
    positions = {} if read.positions is None else {"position_ids": read.positions}
    logits: torch.Tensor = model(input_ids=read.ids, use_cache=False, logits_to_keep=read.predicting.shape[1], **positions).logits
    return logits


def check_fits(model: Any, prompt: Sequence[int], response: Sequence[int], problem_id: str) -> None:
    """Raise `UserError` naming the problem when prompt and response exceed the model's context."""
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and len(prompt) + len(response) > context:
        raise UserError(
            f"problem {problem_id!r}: prompt of {len(prompt)} and response of {len(response)} tokens exceed the model's context of {context}; "
            "shorten the responses or drop the problem"
        )
