"""Groups of options, of which configurations are made. Each option is declared and checked once.

A group is a frozen dataclass that several commands share, such as `RunOptions`. A command's configuration is a subclass of its groups and adds its
own options. So it is built and stored without nesting, as in `RolloutConfig(K=4, seed=1)`, and it can be passed to any function that takes one of
its groups.

A class describes its options under "Attributes:" in its docstring, which `--help` prints. A `__post_init__` first calls that of its parents.
"""

import math
import re
from dataclasses import Field, dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from paced_exp.core.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True, kw_only=True)
class Options:
    """A group of options. Raises `UserError` for a value that is not one of its `Literal` type."""

    def __post_init__(self) -> None:
        for name, known in _choices(type(self)).items():  # type: ignore[arg-type]  # mypy compares the hash of instances
            check_known(name, getattr(self, name), known)

    def at_least(self, least: int, *names: str, why: str = "") -> None:
        """Raise `UserError` if one of these options is below `least` or not finite. None is allowed."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                finite = "a finite number of " if isinstance(value, float) else ""
                raise UserError(f"`{name}` {value} must be {finite}at least {least}{why}")

    def positive(self, *names: str, why: str = "") -> None:
        """Raise `UserError` if one of these options is not positive and finite. None is allowed."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"`{name}` {value} must be positive and finite{why}")


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """The run.

    Attributes:
        seed: seed of everything random
        out: folder of the run; the same command resumes it
    """

    seed: int = 0
    out: str

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(0, "seed")


@cache  # a grid makes thousands of configurations of a few classes
def _choices(kind: type[Options]) -> dict[str, tuple[object, ...]]:
    """The values that each option of a `Literal` type can have."""
    return {name: get_args(hint) for name, hint in get_type_hints(kind).items() if get_origin(hint) is Literal}


def check_known(name: str, value: object, known: tuple[object, ...]) -> None:
    """Raise `UserError` if the `value` of option `name` is not one of `known`."""
    if value not in known:
        raise UserError(f"`{name}` {value} is not known; known: {', '.join(map(str, known))}")


def meanings(kind: type) -> dict[str, str]:
    """The meaning of each option, from "Attributes:" in the docstrings of a configuration and its groups. The configuration's own text wins."""
    found: dict[str, str] = {}
    for home in reversed(kind.__mro__):
        found |= dict(re.findall(r"^        (\w+): (.+)$", home.__doc__ or "", re.M))
    return found


def grouped(kind: "type[DataclassInstance]") -> "dict[type, list[Field[Any]]]":
    """The fields of a configuration by the class that declares them: first the configuration's own, then those of each of its groups."""
    found: dict[type, list[Field[Any]]] = {home: [] for home in (kind, *kind.__bases__)}
    for field in fields(kind):
        found[next((base for base in kind.__bases__ if field.name in getattr(base, "__dataclass_fields__", ())), kind)].append(field)
    return {home: members for home, members in found.items() if members}
