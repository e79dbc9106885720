"""Which versions of other people's trainers these integrations were tested with, and the one-line refusal of any other."""

from importlib import metadata

from paced_exp.core.errors import UserError

#: distribution: the range that was tested, as pip writes it.
RANGES = {"trl": ">=1.10,<1.17", "verl": ">=0.9,<0.10"}


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
        raise UserError(
            f"{name} {found} is installed, and this integration was tested with {wanted} only; run: pip install '{name}{wanted}'"
        )
