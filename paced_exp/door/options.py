"""Keyword arguments of verbs: the options of a command, checked by name and type, and shown in the signature and the docstring."""

import dataclasses
import difflib
import inspect
import numbers
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.core.options import meanings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Verb = TypeVar("Verb", bound=Callable[..., Any])
_KINDS: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    dict: "a dict",
    str: "text",
    Literal: "text",
    NoneType: "None",
}


def plain_options(config_class: "type[DataclassInstance]", verb: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with plain values, as in config.yaml. Raises `UserError` for an unknown name (suggesting a similar one) or a value of the wrong type."""
    hints = get_type_hints(config_class)
    for name in options:
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            meant = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(hints))}"
            raise UserError(f"paced.{verb} has no option `{name}`; {meant}")
    return {name: _plain(name, value, hints[name]) for name, value in options.items()}


def _plain(name: str, value: Any, hint: Any) -> Any:
    """`value` converted to a type that `hint` allows: numpy numbers become Python numbers, and a path becomes text."""
    kinds = [get_origin(kind) or kind for kind in (get_args(hint) if NoneType in get_args(hint) else (hint,))]
    if value is None and NoneType in kinds:
        return None
    truth = isinstance(value, bool | np.bool_)
    number = isinstance(value, numbers.Real) and not truth
    if bool in kinds and truth:
        return bool(value)
    if int in kinds and number and hasattr(value, "__index__"):
        return operator.index(value)
    if float in kinds and number:
        return float(value)
    if (str in kinds or Literal in kinds) and isinstance(value, str | Path):
        return str(value)
    if dict in kinds and isinstance(value, Mapping):
        return dict(value)
    raise UserError(f"`{name}` {value!r:.100} must be {' or '.join(_KINDS[kind] for kind in kinds)}")


def takes_options_of(config_class: "type[DataclassInstance]") -> Callable[[Verb], Verb]:
    """Decorate a verb that takes **options: its signature lists the fields of the configuration, and its docstring says what they mean."""

    def decorate(verb: Verb) -> Verb:
        own = [parameter for parameter in inspect.signature(verb).parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
        hints = get_type_hints(config_class)
        further = [
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
            for field in dataclasses.fields(config_class)
            if field.name not in {parameter.name for parameter in own}
        ]
        returns = inspect.signature(verb).return_annotation
        verb.__signature__ = inspect.Signature([*own, *further], return_annotation=returns)  # type: ignore[attr-defined]
        verb.__doc__ = f"{inspect.cleandoc(verb.__doc__ or '')}\n\nFurther options:\n{_lines(config_class, {p.name for p in own})}"
        return verb

    return decorate


def _lines(config_class: "type[DataclassInstance]", without: set[str]) -> str:
    """A line for each option that is described, except those in `without`."""
    found = meanings(config_class)
    names = [field.name for field in dataclasses.fields(config_class)]
    return "\n".join(f"    {name}: {found[name]}" for name in names if name in found and name not in without)
