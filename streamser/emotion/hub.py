"""Fetching a checkpoint from the Hugging Face hub: exactly its files, and never any code.

Imports nothing heavy before something is fetched.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from streamser.errors import ModelError, first_line

WEIGHTS: Final = "model.safetensors"
PICKLE: Final = "pytorch_model.bin"

CHECKPOINT_FILES: Final = (
    "config.json",
    WEIGHTS,
    "calibration.json",
    "README.md",
    "tokenizer.json",
)
"""All that a checkpoint consists of."""


class HubRequest(msgspec.Struct, frozen=True):
    """Say how to ask the hub; the defaults are the hub client's own.

    ``offline`` takes what is in the cache and asks nobody.
    """

    offline: bool = False
    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    force: bool = False


def fetch(name: str, request: HubRequest) -> Path:
    """Return the directory of a checkpoint on the hub, from the cache where it is the same.

    ``name`` is ``owner/name``. Raises ``ModelError``, in one line, where there is none, or none
    that can be had now.
    """
    from huggingface_hub import constants, errors, snapshot_download

    offline = request.offline or bool(constants.HF_HUB_OFFLINE)
    try:
        directory = snapshot_download(
            name,
            revision=request.revision,
            token=request.token,
            cache_dir=request.cache_dir,
            force_download=request.force,
            local_files_only=offline,
            allow_patterns=list(CHECKPOINT_FILES),
        )
    except errors.HFValidationError:
        raise ModelError(
            f"{name}: there is no such directory, and it is no name on the hub, which would be"
            " owner/name"
        ) from None
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{name}: there is no such directory, and no such model on the hub (or it is private:"
            " log in with hf auth login)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{name} has no revision {request.revision!r} on the hub") from error
    except errors.LocalEntryNotFoundError as error:
        reason = "downloads are switched off" if offline else f"the hub does not answer: {error}"
        raise ModelError(
            f"{name}: there is no such directory, the hub's cache does not hold it, and"
            f" {first_line(reason)}; give the directory of a checkpoint, or try again online"
        ) from error
    # The hub's own, its HTTP library's and the disk's errors have no common ancestor.
    except Exception as error:
        raise ModelError(
            f"{name} could not be fetched from the hub ({first_line(error)}): check the name and"
            " the connection, or give the directory of a checkpoint"
        ) from error
    return Path(os.fspath(directory))
