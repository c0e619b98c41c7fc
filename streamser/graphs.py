"""ONNX graphs that come with the program: each the one that its folder names, on one CPU thread."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec

from streamser.errors import ModelError
from streamser.machine import forbid_telemetry

CONFIG: Final = "config.json"


class Parts(msgspec.Struct, frozen=True):
    """Say what a folder is, and the SHA-256 of each of its parts."""

    format: str
    version: int
    parts: dict[str, str]


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file; raises ``ModelError`` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None


def check_part(directory: Path, name: str, parts: dict[str, str]) -> None:
    """Raise ``ModelError`` where a part of a folder is not the one that was packed with it."""
    if fingerprint(directory / name) != parts.get(name):
        raise ModelError(
            f"{directory / name} is damaged or of another model: install streamser again,"
            " or copy the whole folder again"
        )


def read_parts(directory: Path) -> Parts:
    """Read what a folder tells of its parts; raises ``ModelError``."""
    path = directory / CONFIG
    try:
        return msgspec.json.decode(path.read_bytes(), type=Parts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} does not describe a model: {error}") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None


def open_part(directory: Path, name: str, *, inputs: tuple[str, ...]) -> Any:
    """Open a graph of a folder that tells its parts; raises ``ModelError``."""
    check_part(directory, name, read_parts(directory).parts)
    return open_graph(directory / name, inputs=inputs, unpacked=True)


def open_graph(path: Path, *, inputs: tuple[str, ...], unpacked: bool = False) -> Any:
    """Open a graph that takes exactly these inputs.

    ``unpacked``: rounded weights are turned back once, now, and not at each run: that is for
    convolutions, which cannot be computed with rounded ones. Raises ``ModelError`` where the
    file is missing, damaged or of another kind.
    """
    forbid_telemetry()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread: live streams are many, and a graph this small gains nothing from more.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if unpacked:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    # Memory patterns are kept for every shape that was ever seen.
    options.enable_mem_pattern = False
    if not path.is_file():
        raise ModelError(f"{path} is missing: the model is not complete")
    try:
        # Its second try would be the same, and announced on the output.
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        found = tuple(sorted(each.name for each in session.get_inputs()))
    except Exception as error:  # onnxruntime's own errors share no narrower base
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path} cannot be used: {reason}") from None
    if found != tuple(sorted(inputs)):
        raise ModelError(f"{path} takes {', '.join(found)} and not {', '.join(sorted(inputs))}")
    return session
