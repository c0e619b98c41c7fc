"""The machine a measurement ran on, and the packages at work there."""

from __future__ import annotations

import platform
from importlib import metadata

import msgspec

from streamser.cores import core_count, cpu_name

__all__ = ["Machine", "describe_machine"]

_PACKAGES = (
    "numpy",
    "msgspec",
    "soxr",
    "soundfile",
    "onnxruntime",
    "webrtcvad-wheels",
    "faster-whisper",
    "vaderSentiment",
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a figure depends on; ``cores`` are those this process may use."""

    cpu: str
    cores: int
    system: str
    python: str
    streamser: str
    packages: dict[str, str]


def describe_machine() -> Machine:
    """Describe this machine and the packages at work."""
    from streamser import __version__

    return Machine(
        cpu=cpu_name(),
        cores=core_count(),
        system=f"{platform.system()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        streamser=__version__,
        packages={name: version for name in _PACKAGES if (version := _version(name))},
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
