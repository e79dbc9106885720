"""The folders of the lab's checkpoints, which are shipped with the package."""

from pathlib import Path

from paced_exp.core.errors import UserError

CHECKPOINTS = ("student", "teacher", "student-llama", "teacher-llama")


def checkpoint_path(name: str) -> Path:
    """Folder of the checkpoint `lab:NAME`. Raises `UserError` for an unknown name."""
    if name not in CHECKPOINTS:
        raise UserError(f"lab:{name} is not a lab model; known: {', '.join(f'lab:{known}' for known in CHECKPOINTS)}")
    return Path(__file__).parents[1] / "lab" / "checkpoints" / name
