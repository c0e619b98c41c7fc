"""The Hugging Face hub: its cache on this machine, whether it can be asked, and its checkpoints.

Of a checkpoint exactly its files are fetched, and never any code. Imports nothing heavy before
something is fetched.
"""

from __future__ import annotations

import http.client
import os
import queue
import re
import ssl
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import msgspec

from streamser.errors import ModelError, first_line

# As git has it; nothing that could lead out of the cache.
_REVISION = re.compile(r"(?!.*\.\.)[\w][\w./-]*")
_YES = frozenset({"1", "ON", "YES", "TRUE"})

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


def hub_cache() -> Path:
    """Return where ``huggingface_hub`` keeps models (its environment variables, its order)."""
    home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", os.path.join(home, "huggingface"))
    cache = os.environ.get("HUGGINGFACE_HUB_CACHE", os.path.join(home, "hub"))
    return Path(os.path.expandvars(os.environ.get("HF_HUB_CACHE", cache))).expanduser()


def split_revision(name: str) -> tuple[str, str | None]:
    """Split ``NAME@REVISION`` of a model into both; ``None`` where no revision is asked for.

    A revision is a commit, the only one that stays what it is, or a tag or branch.
    """
    plain, at, revision = name.rpartition("@")
    return (plain, revision) if plain and at and _REVISION.fullmatch(revision) else (name, None)


def snapshot_place(repository: str, revision: str | None = None) -> Path:
    """Return where a snapshot of a repository (``owner/name``) is, or would be.

    That of a revision and no other, or the newest known.
    """
    cached = hub_cache() / f"models--{repository.replace('/', '--')}"
    try:
        commit = cached.joinpath("refs", revision or "main").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return cached if revision is None else cached / "snapshots" / revision
    return cached / "snapshots" / commit


def cached_snapshot(repository: str, revision: str | None = None) -> Path | None:
    """Return what is at the snapshot's place, whole or not; ``None``: there is nothing."""
    place = snapshot_place(repository, revision)
    return place if place.parent.name == "snapshots" and place.is_dir() else None


def snapshot_revision(repository: str) -> str | None:
    """Return the commit of a repository that the cache holds and that is taken by default."""
    snapshot = cached_snapshot(repository)
    return None if snapshot is None else snapshot.name


def revision_of(directory: Path) -> str | None:
    """Return the commit that a directory of the cache holds; ``None`` for any other one."""
    return directory.name if directory.parent.name == "snapshots" else None


def is_hub_forbidden() -> bool:
    """Tell whether the environment (``HF_HUB_OFFLINE``) forbids to ask the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in _YES


def hub_address() -> str:
    """Return the address of the hub (``HF_ENDPOINT``)."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def answers(url: str, seconds: float) -> bool:
    """Tell whether a server answers at all, in time, whatever it says."""
    verdict: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=seconds).close()
            verdict.put(True)
        except urllib.error.HTTPError:
            verdict.put(True)
        except urllib.error.URLError as error:
            # Certificates are for the real client to judge, which brings its own.
            verdict.put(isinstance(error.reason, ssl.SSLError))
        except (OSError, http.client.HTTPException):
            verdict.put(False)

    try:
        # In a thread, because looking up a name heeds no timeout.
        threading.Thread(target=ask, daemon=True).start()
        return verdict.get(timeout=seconds)
    except queue.Empty:
        return False


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
