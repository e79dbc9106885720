"""Teachers: another model, the student itself (live), an exponential moving average of the student, or none."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file

from paced_exp.losses.alignment import Batch, Row, supervised_logits
from paced_exp.losses.heads import States, plain_head
from paced_exp.losses.problem_loss import Dense, Targets


class Teacher(Protocol):
    """What the trainer needs from a teacher."""

    def targets(self, batch: Batch) -> Targets:
        """The teacher's predictions at the batch's supervised tokens, without gradient."""
        ...

    def flops(self, rows: Sequence[Row]) -> float:
        """Number of floating-point operations of `targets` for these rows."""
        ...

    def after_update(self, student: Any) -> None:
        """Called with the student after each of its updates."""
        ...

    def save(self, folder: Path) -> None:
        """Write the state that a resumed run needs into a checkpoint's folder."""
        ...

    def load(self, folder: Path) -> None:
        """Read this state back."""
        ...


class Stateless:
    """A teacher without a state of its own to update or to save."""

    def after_update(self, student: Any) -> None:
        pass

    def save(self, folder: Path) -> None:
        pass

    def load(self, folder: Path) -> None:
        pass


class ModelTeacher(Stateless):
    """A model that this class does not change: another model, a frozen copy of the student, or the student itself.

    states: give hidden states with the head rather than logits, which the fused loss needs never hold all of. Raises `UserError` where that
    head is not plain.
    """

    def __init__(self, model: Any, *, states: bool = False) -> None:
        self.model = model
        self._head = plain_head(model, "teacher") if states else None

    def targets(self, batch: Batch) -> Targets:
        with torch.no_grad(), evaluating(self.model):
            if self._head is None:
                return Dense(supervised_logits(self.model, batch.teacher))
            return States(self._head.states(self.model, batch.teacher), self._head.head())

    def flops(self, rows: Sequence[Row]) -> float:
        return 2.0 * matmul_parameters(self.model) * sum(row.teacher_tokens for row in rows)


class EMATeacher(ModelTeacher):
    """theta_T <- decay theta_T + (1 - decay) theta_S after each update, from the student's initial weights, in float32 or float64."""

    FILE = "teacher_ema.safetensors"

    def __init__(self, student: Any, decay: float, *, states: bool = False) -> None:
        super().__init__(frozen_copy(student), states=states)
        self.decay = decay

    @torch.no_grad()
    def after_update(self, student: Any) -> None:
        for mine, theirs in zip(self.model.parameters(), student.parameters(), strict=True):
            mine.lerp_(theirs.to(mine.dtype), 1 - self.decay)

    def save(self, folder: Path) -> None:
        save_file({name: parameter.detach() for name, parameter in self.model.named_parameters()}, folder / self.FILE)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        stored = load_file(folder / self.FILE)
        for name, parameter in self.model.named_parameters():
            parameter.copy_(stored[name])


class NoTeacher(Stateless):
    """For a divergence that needs no teacher."""

    def targets(self, batch: Batch) -> Targets:
        return None

    def flops(self, rows: Sequence[Row]) -> float:
        return 0.0


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Puts `model` into evaluation mode, and back into its previous mode at the end."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def frozen_copy(model: Any) -> Any:
    """A copy of `model` in eval mode whose parameters take no gradient."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def matmul_parameters(model: Any) -> int:
    """Number of parameters in matrix products: all but the input embedding, which is only looked up, unless it is tied to the output head."""
    total: int = sum(parameter.numel() for parameter in model.parameters())
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    return total if embedding is head else total - int(embedding.numel())
