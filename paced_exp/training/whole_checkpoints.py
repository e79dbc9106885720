"""Checkpoints of a transformers.Trainer that are whole or not there: written aside, sealed with digests, renamed, and read back only if intact.

Trainer has no public hook for the private methods overridden here.
"""

import shutil
from pathlib import Path
from typing import Any

import torch

from paced_exp.core.checkpoints import ASIDE, keep, last_whole, written_whole
from paced_exp.core.errors import UserError


class WholeCheckpoints:
    """A mixin in front of a Trainer whose `_folder` is args.output_dir. `save_beside` writes what else a resumed run needs."""

    _folder: Path
    state: Any  # of transformers' Trainer, as the following
    model: Any
    accelerator: Any
    is_world_process_zero: Any

    def save_beside(self, folder: Path) -> None:
        """Write this trainer's further state into a checkpoint's folder, on the main process."""

    # Checkpoints are written in a folder of their own, so that a kill leaves no incomplete one among the finished ones.
    def _get_output_dir(self, trial: Any) -> str:
        return str(self._folder / ASIDE)

    # A checkpoint also holds further state and digests of its files. An `on_save` callback would come too late to report a full disk.
    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write Trainer's checkpoint and the further state aside, add digests, rename the folder, and delete all but the last two."""
        name = f"checkpoint-{self.state.global_step}"
        aside = self._folder / ASIDE / name
        with written_whole(f"{self._folder / name}", self._folder / ASIDE):
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            if self.is_world_process_zero():
                self.save_beside(aside)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                (aside / "training_args.bin").unlink(missing_ok=True)  # a pickle, which nobody reads
                keep(aside.parent, self.state.global_step)

    # FSDP2 gathers a tied parameter once for each of its names, and Trainer would write it as often.
    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write the model with each tied parameter under its first name, as of a model that is not sharded."""
        if state_dict is not None:
            for name, first in (getattr(self.model, "all_tied_weights_keys", None) or {}).items():
                if name in state_dict and first in state_dict:
                    assert torch.equal(state_dict[name], state_dict[first]), f"{name} and {first} are tied and differ"
                    del state_dict[name]
        super()._save(output_dir, state_dict=state_dict)  # type: ignore[misc]

    # If a tensor is missing, Trainer only warns and continues with whatever the model held there.
    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Raise `UserError` for a missing tensor, except for tied parameters, which are saved only once."""
        tied = getattr(self.model, "all_tied_weights_keys", None) or {}
        missing = sorted(set(load_result.missing_keys) - set(tied))
        if missing:
            raise UserError(f"the last checkpoint in {self._folder} lacks {missing[0]}; delete it, and the run resumes from the one before")

    def last_checkpoint(self) -> Path | None:
        """The last whole checkpoint, after what a kill left aside was deleted; None if there is none. For the main process."""
        shutil.rmtree(self._folder / ASIDE, ignore_errors=True)
        return last_whole(self._folder)
