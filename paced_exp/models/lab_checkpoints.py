"""The folders of the lab's checkpoints and adapters, which are shipped with the package."""

from pathlib import Path

from paced_exp.core.errors import UserError

CHECKPOINTS = ("student", "teacher", "student-llama", "teacher-llama")
ADAPTERS = ("smollm2-student", "smollm2-teacher")  # of SmolLM2-135M-Instruct; models by these names
_FOLDER = Path(__file__).parents[1] / "lab" / "checkpoints"


def checkpoint_path(name: str) -> Path:
    """Folder of the checkpoint `lab:NAME`. Raises `UserError` for an unknown name."""
    if name not in CHECKPOINTS:
        raise UserError(f"lab:{name} is not a lab model; known: {', '.join(f'lab:{known}' for known in CHECKPOINTS)}")
    return _FOLDER / name


def adapter_path(name: str) -> Path:
    """Folder of a shipped adapter, which may not be there yet."""
    return _FOLDER / name
