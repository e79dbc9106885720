"""Which parameters a gradient counts."""

from collections.abc import Sequence

from torch import nn

from paced_exp.core.errors import UserError


def counted(model: nn.Module, only: Sequence[str] | None) -> dict[int, str]:
    """Names of the counted parameters by id. A tied parameter can be chosen by each of its names, and is called by the first.

    only: names of parameters or modules; None counts all. Raises `UserError` for a name that the model does not have.
    """
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    if only is None:
        return first
    chosen: set[int] = set()
    for wanted in only:
        found = {id(p) for name, p in model.named_parameters(remove_duplicate=False) if f"{name}.".startswith(f"{wanted}.")}
        if not found:
            raise UserError(
                f"`only` {wanted!r} is no parameter or module of the model; its parameters are called like {next(iter(first.values()))!r}"
            )
        chosen |= found
    return {key: name for key, name in first.items() if key in chosen}
