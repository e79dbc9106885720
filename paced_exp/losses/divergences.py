"""What a divergence between teacher and student is, and the divergences there are, by name.

A divergence is one class: name, label, where it is taken, its value and its gradient. Defining the class declares it, so that
configurations know its name once its module is imported:

    @dataclass(frozen=True)
    class TotalVariation(Divergence):
        name = "total_variation"
        label = "total variation"

        def value(self, student, teacher, tokens):
            return (log_probabilities(teacher).exp() - log_probabilities(student).exp()).abs().sum(-1) / 2

Values use tensor methods alone, so that names and options are known without the seconds that loading torch takes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal

from paced_exp.core.errors import UserError

if TYPE_CHECKING:
    import torch

Source = Literal["references", "rollouts"]

DIVERGENCES: dict[str, type[Divergence]] = {}


@dataclass(frozen=True)
class Divergence(ABC):
    """A divergence per token, in nats, from logits. Its parameters are the fields of its class.

    name: as configurations write it. label: as tables and figures write it; the name in words unless given. default_source: the responses
    it is taken on unless a stage says otherwise, the teacher's references or the student's own rollouts. needs_teacher: whether it reads the
    teacher's logits. suits_rollouts: whether training with it on the student's own rollouts can teach anything.

    `value`, `gradient` and `value_and_gradient` take the logits (..., V) of student and teacher and the ids (...) of the tokens that follow, and work in float32,
    or in float64 where the logits are. Raises `ValueError` for a class whose name is no identifier or is taken.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    default_source: ClassVar[Source] = "references"
    needs_teacher: ClassVar[bool] = True
    suits_rollouts: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        name = getattr(cls, "name", "")
        if not name.isidentifier():  # stages are written forward_kl@references:0.5,reverse_kl
            raise ValueError(f"the name {name!r} of divergence {cls.__qualname__} must be an identifier")
        if "label" not in cls.__dict__:
            cls.label = name.replace("_", " ")
        known = DIVERGENCES.setdefault(cls.name, cls)
        # Not by identity: a notebook's cell may be run again, and `dataclass` may make the class anew.
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"divergence {cls.name!r} is declared already, by {known.__module__}.{known.__qualname__}; take another name")
        DIVERGENCES[cls.name] = cls

    @abstractmethod
    def value(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The divergence at each token (...). One that needs no teacher must not read the teacher's logits, which may be anything."""

    def gradient(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The gradient (..., V) of each token's value in the student's logits."""
        return self.value_and_gradient(student, teacher, tokens)[1]

    def value_and_gradient(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The value (...) at each token and its gradient (..., V) in the student's logits: by autograd, unless the class knows a closed form."""
        import torch  # takes seconds to load, and names and options are needed without it

        with torch.enable_grad():
            logits = wide(student).detach().requires_grad_()
            values = self.value(logits, teacher, tokens)
            (gradient,) = torch.autograd.grad(values.sum(), logits)
        return values.detach(), gradient


def divergence(name: str, **options: float) -> Divergence:
    """The divergence called `name`. The option jsd_beta sets the field `beta` of the divergence called jsd; the other divergences ignore it.

    Raises `UserError` for an unknown name, listing the known ones, and for options out of range; `TypeError` for an option that no
    divergence has.
    """
    if name not in DIVERGENCES:
        raise UserError(f"`divergence` {name} is not known; known: {', '.join(DIVERGENCES)}")
    parameters = {f"{kind.name}_{field.name}": field.name for kind in DIVERGENCES.values() for field in fields(kind)}
    if unknown := options.keys() - parameters.keys():
        raise TypeError(f"no divergence has an option {min(unknown)!r}; there are {', '.join(parameters)}")
    found = DIVERGENCES[name]
    own = {f"{name}_{field.name}" for field in fields(found)}
    return found(**{parameters[option]: value for option, value in options.items() if option in own})


def wide(logits: torch.Tensor) -> torch.Tensor:
    """`logits` in float32, or in float64 where they are."""
    return logits if logits.element_size() == 8 else logits.float()


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """log softmax over the vocabulary, in float32 or float64."""
    return wide(logits).log_softmax(-1)
