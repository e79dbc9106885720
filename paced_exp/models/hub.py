"""Downloads of models from the Hugging Face hub: the files a causal language model needs, nothing executable."""

import errno
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from paced_exp.core.errors import UserError

_TEXT_FILES = ["*.json", "*.jinja", "*.txt"]


def download(spec: str) -> tuple[Path, str]:
    """The local folder of the hub model `spec`, and its commit. Files that are not cached are downloaded. Raises `UserError` in one line."""
    return _download(spec, [*_TEXT_FILES, "*.safetensors"])


def download_config(spec: str) -> tuple[Path, str]:
    """As `download`, but of its config.json alone."""
    return _download(spec, ["config.json"])


def _download(spec: str, files: list[str]) -> tuple[Path, str]:
    try:
        # Subfolders hold other formats of the same weights.
        folder = Path(snapshot_download(spec, allow_patterns=files, ignore_patterns=["*/*"]))
    except GatedRepoError as error:
        raise UserError(f"model {spec} is gated on the hub; accept its licence there and log in with: hf auth login") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"model {spec} is neither a folder nor a model on the hub; check the name, or log in if it is private") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise UserError(
            f"model {spec} is not a local folder, and the hub cannot be reached; check the path or the network, or name a downloaded folder"
        ) from error
    except Exception as error:  # the client also raises errors of its HTTP library, whose types depend on its version
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"model {spec} cannot be downloaded from the hub ({error!s:.200}); try again or name a downloaded folder"
        ) from error
    return folder, folder.name
