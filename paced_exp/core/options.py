"""What every configuration is made of: groups of options, each declared and checked once.

A group is a frozen dataclass that several commands share (`RunOptions`); a command's configuration is a subclass of its groups and adds its
own options. It stays flat to build, to store and to read, `RolloutConfig(K=4, seed=1)`, and wherever a function asks for a group the whole
configuration can be handed on.

A class describes its options under "Attributes:" in its docstring, which is where `--help` has them from. A `__post_init__` calls its
parents' first.
"""

import math
import re
from dataclasses import Field, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from paced_exp.core.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True, kw_only=True)
class Options:
    """A group of options. Raises `UserError` for a value that is none of its `Literal` type's."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            if get_origin(hint) is Literal:
                check_known(name, getattr(self, name), get_args(hint))

    def at_least(self, least: int, *names: str, why: str = "") -> None:
        """Raise `UserError` for one of these options that is below `least` or not finite; one that is None is left out."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                finite = "a finite number of " if isinstance(value, float) else ""
                raise UserError(f"`{name}` {value} must be {finite}at least {least}{why}")

    def positive(self, *names: str, why: str = "") -> None:
        """Raise `UserError` for one of these options that is not positive and finite; one that is None is left out."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"`{name}` {value} must be positive and finite{why}")


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """The run.

    Attributes:
        seed: of everything random
        out: folder of the run; the same command resumes it
    """

    seed: int = 0
    out: str

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(0, "seed")


def check_known(name: str, value: object, known: tuple[object, ...]) -> None:
    """Raise `UserError` for a `value` of the option `name` that is none of `known`."""
    if value not in known:
        raise UserError(f"`{name}` {value} is not known; known: {', '.join(map(str, known))}")


def meanings(kind: type) -> dict[str, str]:
    """What each option of a configuration or group means, from the "Attributes:" of its docstring and of its groups'; its own words come first."""
    found: dict[str, str] = {}
    for home in reversed(kind.__mro__):
        found |= dict(re.findall(r"^        (\w+): (.+)$", home.__doc__ or "", re.M))
    return found


def grouped(kind: "type[DataclassInstance]") -> "dict[type, list[Field[Any]]]":
    """The fields of a configuration by the class that gives them: the configuration's own first, then those of each group that it is made of."""
    found: dict[type, list[Field[Any]]] = {home: [] for home in (kind, *kind.__bases__)}
    for field in fields(kind):
        found[next((base for base in kind.__bases__ if field.name in getattr(base, "__dataclass_fields__", ())), kind)].append(field)
    return {home: members for home, members in found.items() if members}
