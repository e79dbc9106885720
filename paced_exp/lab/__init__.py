"""The lab: small models that really solve and really fail real problems, offline, through the same loader as any hub model."""

from pathlib import Path

from paced_exp.errors import UserError
from paced_exp.lab.splits import DEFAULT_SIZES, SPLITS, lab_problems

__all__ = ["CHECKPOINTS", "DEFAULT_SIZES", "SPLITS", "checkpoint_path", "lab_problems"]

CHECKPOINTS = ("student", "teacher", "student-llama", "teacher-llama")


def checkpoint_path(name: str) -> Path:
    """Folder of the shipped checkpoint `lab:NAME`. Raises `UserError` for an unknown name, listing the known ones."""
    if name not in CHECKPOINTS:
        raise UserError(f"lab:{name} is not a lab model; known: {', '.join(f'lab:{known}' for known in CHECKPOINTS)}")
    return Path(__file__).parent / "checkpoints" / name
