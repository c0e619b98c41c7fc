"""Keep a library from reporting to its maker."""

from __future__ import annotations

import os

__all__ = ["forbid_telemetry"]


def forbid_telemetry() -> None:
    """Switch onnxruntime's telemetry off; to be called before it is imported.

    Its builds write a device id below the home directory and send usage events, from the import
    on. A user who has set ``ORT_DISABLE_TELEMETRY`` has decided.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
