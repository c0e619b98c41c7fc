"""Opening an ONNX graph for one CPU thread, with a clear word where that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamser.errors import ModelError
from streamser.machine import forbid_telemetry


def open_graph(path: Path, *, inputs: tuple[str, ...]) -> Any:
    """Open a graph that takes exactly these inputs.

    Raises ``ModelError`` where the file is missing, damaged or of another kind.
    """
    forbid_telemetry()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread: live streams are many, and a graph this small gains nothing from more.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
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
