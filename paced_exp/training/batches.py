"""From rows (a problem's prompts, response, mask and weight) to padded tensors at whose marked positions student and teacher predict the
same tokens.

Each sequence is prompt ids + response ids, cut before its last supervised token, padded on the right. A causal model's outputs at real
positions do not see the padding behind them, so no attention mask is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Row:
    """A problem as trained on: the two prompts, the response both models read, a flag a response token, and the weight (mean one)."""

    problem_id: str
    student_prompt: list[int]
    teacher_prompt: list[int]
    response: list[int]
    supervised: list[bool]
    weight: float

    @property
    def student_tokens(self) -> int:
        """Tokens the student reads."""
        return len(self.student_prompt) + self._read

    @property
    def teacher_tokens(self) -> int:
        """Tokens the teacher reads."""
        return len(self.teacher_prompt) + self._read

    @property
    def _read(self) -> int:
        """Response tokens read: those before the last supervised one, which is predicted only."""
        return max(index for index, flag in enumerate(self.supervised) if flag)


def make_row(
    problem_id: str, student_prompt: list[int], teacher_prompt: list[int], response: list[int], supervised: list[bool], weight: float
) -> Row:
    """A `Row`; where the mask leaves no token (a rollout without an answer, supervised on answers) it counts for nothing: weight zero."""
    if not any(supervised):
        supervised, weight = [True, *[False] * (len(response) - 1)], 0.0
    return Row(problem_id, student_prompt, teacher_prompt, response, supervised, weight)


@dataclass(frozen=True)
class Sequences:
    """Padded ids (B, L) and which of the last W positions predict a supervised token, (B, W) bool; N are marked in all, row by row."""

    ids: torch.Tensor
    predicting: torch.Tensor

    def to(self, device: torch.device) -> "Sequences":
        return Sequences(self.ids.to(device), self.predicting.to(device))


@dataclass(frozen=True)
class Batch:
    """A micro-batch of B rows with N supervised tokens.

    student, teacher: what each model reads. tokens (N,): the supervised tokens. layout (B, R) bool: how the N values lie in rows.
    weights (B,) float64.
    """

    rows: list[Row]
    student: Sequences
    teacher: Sequences
    tokens: torch.Tensor
    layout: torch.Tensor
    weights: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`."""
        tensors = (value.to(device) for value in (self.tokens, self.layout, self.weights))
        return Batch(self.rows, self.student.to(device), self.teacher.to(device), *tensors)


def collate(rows: Sequence[Row], pad_id: int) -> Batch:
    """Rows as tensors; asserts that both models' marked positions predict the same tokens."""
    student = _sequences([(row.student_prompt, row) for row in rows], pad_id)
    teacher = _sequences([(row.teacher_prompt, row) for row in rows], pad_id)
    tokens = [token for row in rows for token, flag in zip(row.response, row.supervised, strict=True) if flag]
    assert int(student.predicting.sum()) == int(teacher.predicting.sum()) == len(tokens), "student and teacher predict different spans"
    counts = torch.tensor([sum(row.supervised) for row in rows])
    layout = torch.arange(int(counts.max())) < counts[:, None]
    return Batch(
        list(rows), student, teacher, torch.tensor(tokens), layout, torch.tensor([row.weight for row in rows], dtype=torch.float64)
    )


def _sequences(pairs: list[tuple[list[int], Row]], pad_id: int) -> Sequences:
    texts = [[*prompt, *row.response[: row._read]] for prompt, row in pairs]
    width = max(len(text) for text in texts)
    ids = torch.tensor([text + [pad_id] * (width - len(text)) for text in texts])
    predicting = torch.zeros_like(ids, dtype=torch.bool)
    for index, (prompt, row) in enumerate(pairs):
        flags = torch.tensor(row.supervised[: row._read + 1])
        predicting[index, len(prompt) - 1 : len(prompt) + row._read] = flags
    first = int(predicting.any(0).nonzero()[0])
    return Sequences(ids, predicting[:, first:])


def supervised_logits(model: Any, sequences: Sequences) -> torch.Tensor:
    """Logits (N, V) at the marked positions; the head runs on no position before the first marked one of any row."""
    output = model(input_ids=sequences.ids, use_cache=False, logits_to_keep=sequences.predicting.shape[1])
    logits: torch.Tensor = output.logits[sequences.predicting]
    return logits


def in_rows(values: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
    """Per-token values (N,) laid out in rows (B, R), zero where there is none."""
    return torch.zeros(layout.shape, dtype=values.dtype, device=values.device).masked_scatter(layout, values)


def by_length(rows: Sequence[Row], parts: int) -> list[list[Row]]:
    """`rows` sorted by length and cut into `parts` micro-batches of equal size, so that little is padded; their sum is the same."""
    ordered = sorted(rows, key=lambda row: (row.student_tokens, row.problem_id))
    size = len(ordered) // parts
    return [ordered[index * size : (index + 1) * size] for index in range(parts)]
