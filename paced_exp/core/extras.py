"""Packages that only some commands need: which extra of this package brings them, in the words of every message."""


def install(extra: str) -> str:
    """The command that installs an extra. The package is on no index, so it is installed from a clone."""
    return f"pip install '.[{extra}]' (in a clone of this repository)"


def missing_package(error: ModuleNotFoundError) -> str | None:
    """The package that is not installed; None if the missing module is one of ours or a part of an installed package, which is a defect."""
    name = error.name or ""
    return None if not name or "." in name or name.startswith("paced_") else name
