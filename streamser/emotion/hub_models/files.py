"""Where the files of public models are: the hub's cache, or the hub.

Imports nothing heavy, so that asking what there is takes no time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, Literal, TypeAlias

from streamser.emotion.hub_models.registry import HubModel, size_of
from streamser.errors import ModelError, first_line
from streamser.hub import (
    PICKLE,
    WEIGHTS,
    answers,
    cached_snapshot,
    hub_address,
    hub_cache,
    is_hub_forbidden,
    snapshot_place,
)

Held: TypeAlias = Literal["yes", "in part", "no"]


_SIDE_FILES: Final = {
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
}
# FunASR's: never a .py, though the repositories hold some.
_FUNASR_ENDINGS: Final = (".pt", ".yaml", ".mvn", ".model", "configuration.json", "tokens.txt")
_FUNASR_FILES: Final = ("config.yaml", "model.pt")


def held(ready: HubModel) -> Held:
    """Tell whether a model's files are in the hub's cache."""
    snapshot = cached_snapshot(ready.repository, ready.revision)
    if snapshot is None:
        # Bytes of another revision are no part of the one that is asked for.
        return "in part" if ready.revision is None and _begun(ready) else "no"
    return "in part" if _lacking(ready, snapshot) else "yes"


def locate(ready: HubModel, *, offline: bool) -> Path:
    """Return the directory of a model's files, downloading them where that is needed and allowed.

    ``offline`` (or the environment's ``HF_HUB_OFFLINE``) forbids it. Raises ``ModelError`` at once
    with the path that is missing, or soon where the hub cannot be reached.
    """
    snapshot = cached_snapshot(ready.repository, ready.revision)
    lacking = _lacking(ready, snapshot) if snapshot is not None else ""
    if snapshot is not None and not lacking:
        return snapshot
    if offline or is_hub_forbidden():
        missing = snapshot_place(ready.repository, ready.revision) / lacking
        how = "is only in part on this machine" if held(ready) == "in part" else "is not here"
        raise ModelError(
            f"the public model {ready.title} {how} ({missing} is missing), and downloads are"
            f" switched off: run `streamser models pull {ready.title}` once with a network."
        )
    return pull(ready)


def pull(ready: HubModel, *, force: bool = False) -> Path:
    """Download a model's files into the hub's cache, with progress on stderr.

    What is there already is kept, unless ``force``. No code is ever fetched, and a pickle only
    where there are no safetensors. Raises ``ModelError`` in one line, also where huggingface_hub
    is not installed.
    """
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError:
        raise ModelError(
            f"downloading {ready.name} needs huggingface_hub: run pip install 'streamser[torch]'."
        ) from None
    hub = hub_address()
    if is_hub_forbidden():
        raise ModelError(f"{ready.name} cannot be downloaded: HF_HUB_OFFLINE forbids it.")
    # The hub's own client tries for minutes before it gives up.
    if not answers(hub, seconds=3.0):
        raise ModelError(
            f"{ready.name} cannot be downloaded: {hub} does not answer; check the connection."
        )
    print(
        f"Downloading {ready.title} ({ready.repository}, about {size_of(ready)})",
        file=sys.stderr,
        flush=True,
    )
    try:
        listed = HfApi(endpoint=hub).list_repo_files(ready.repository, revision=ready.revision)
        directory = Path(
            snapshot_download(
                ready.repository,
                revision=ready.revision,
                allow_patterns=_wanted(ready, listed),
                endpoint=hub,
                cache_dir=hub_cache(),
                force_download=force,
            )
        )
    # The hub's own, its HTTP library's and the disk's errors have no common ancestor.
    except Exception as error:
        raise ModelError(
            f"{ready.title} could not be downloaded from {ready.repository}"
            f" ({first_line(error)}): check the"
            " connection and the room on the disk, and run the command again to go on."
        ) from error
    if lacking := _lacking(ready, directory):
        raise ModelError(f"{ready.repository} no longer holds {lacking}: it was changed.")
    return directory


def _wanted(ready: HubModel, listed: list[str]) -> list[str]:
    """Choose the files to fetch from those that a repository holds."""
    top = [name for name in listed if "/" not in name]
    if ready.is_funasr:
        return [name for name in top if name.endswith(_FUNASR_ENDINGS)]
    weights = WEIGHTS if WEIGHTS in top else PICKLE
    return [name for name in top if name in _SIDE_FILES or name == weights]


def _lacking(ready: HubModel, directory: Path) -> str:
    """Return the first file that a directory lacks; empty where it is complete."""
    if ready.is_funasr:
        needed: tuple[tuple[str, ...], ...] = tuple((name,) for name in _FUNASR_FILES)
    else:
        needed = (("config.json",), (WEIGHTS, PICKLE))
        if ready.modality == "text":
            needed = (*needed, ("tokenizer.json", "vocab.json"))
    for names in needed:
        # A link to what was not downloaded is no file.
        if not any((directory / name).is_file() for name in names):
            return names[0]
    return ""


def _begun(ready: HubModel) -> bool:
    blobs = hub_cache() / f"models--{ready.repository.replace('/', '--')}" / "blobs"
    return blobs.is_dir() and any(blobs.iterdir())
