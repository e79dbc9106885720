"""Which versions of other people's trainers these integrations accept, and the one-line refusal of any other."""

from importlib import import_module, metadata
from typing import Any

from paced_exp.core.errors import UserError

#: distribution: the range that is accepted, as pip writes it. docs/integrations says which versions in it were tried, and with which tests.
RANGES = {"trl": ">=1.10,<1.17", "verl": ">=0.9,<0.10"}
#: package: the name of the peer and the commit that was tried, where there are no releases to give a range of.
COMMITS = {"nemo_rl": ("NeMo-RL", "7ea279a"), "slime": ("slime", "624b824")}


def require(name: str) -> None:
    """Raise `UserError` unless the distribution `name` is installed in a version within `RANGES`.

    The hooks used here are no public interface of the peer: outside the range a weight could be lost without any sign of it.
    """
    from packaging.specifiers import SpecifierSet

    wanted = RANGES[name]
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        raise UserError(f"{name} is not installed; run: pip install '{name}{wanted}'") from None
    if not SpecifierSet(wanted).contains(found, prereleases=True):
        raise UserError(f"{name} {found} is installed, and this integration accepts {wanted} only; run: pip install '{name}{wanted}'")


def taken_from(module: str, *names: str) -> list[Any]:
    """These names of a module of a peer in `COMMITS`. Raises `UserError` where the module cannot be imported or lacks one of them."""
    peer, commit = COMMITS[module.partition(".")[0]]
    try:
        found = import_module(module)
        return [getattr(found, name) for name in names]
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{peer} should have {' and '.join(names)} in {module}, and has not ({error}); this integration was tried with commit {commit} of {peer}: "
            "check that one out, and run in its environment"
        ) from error
