"""The hub's cache on this machine, and whether the hub can be asked; imports nothing heavy."""

from __future__ import annotations

import http.client
import os
import queue
import ssl
import threading
import urllib.error
import urllib.request
from pathlib import Path

__all__ = [
    "answers",
    "cached_snapshot",
    "hub_address",
    "hub_cache",
    "is_hub_forbidden",
    "snapshot_place",
]

_YES = frozenset({"1", "ON", "YES", "TRUE"})


def hub_cache() -> Path:
    """Return where ``huggingface_hub`` keeps models (its environment variables, its order)."""
    home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", os.path.join(home, "huggingface"))
    cache = os.environ.get("HUGGINGFACE_HUB_CACHE", os.path.join(home, "hub"))
    return Path(os.path.expandvars(os.environ.get("HF_HUB_CACHE", cache))).expanduser()


def snapshot_place(repository: str) -> Path:
    """Return where the newest known snapshot of a repository (``owner/name``) is, or would be."""
    cached = hub_cache() / f"models--{repository.replace('/', '--')}"
    try:
        revision = (cached / "refs" / "main").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return cached
    return cached / "snapshots" / revision


def cached_snapshot(repository: str) -> Path | None:
    """Return the newest known snapshot of a repository, whole or not; ``None``: there is none."""
    place = snapshot_place(repository)
    return place if place.parent.name == "snapshots" and place.is_dir() else None


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
