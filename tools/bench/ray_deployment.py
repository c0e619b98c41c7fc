"""Deploy a model in a Ray of its own, say ``ready``, and end with stdin.

    python -m tools.bench.ray_deployment 8000 model=/tmp/base device=cpu

Arguments: a port, and options of the deployment as ``NAME=VALUE``. ``deployed_in_ray`` has the
Python of another environment, which has Ray, do so.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["deployed_in_ray"]

_ROOT: Final = Path(__file__).parents[2]
_MEMORY: Final = 100 * 2**20
"""Bytes of the object store: nothing goes through it."""
_END_S: Final = 60.0


@contextmanager
def deployed_in_ray(
    python: Path, folder: Path, *options: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Deploy with the Python of an environment; give the address, and who leads its processes.

    What Ray keeps at home is in ``folder``. Raises ``RuntimeError`` with what it said where it
    does not come up, or does not end.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    child = subprocess.Popen(
        [python, "-m", "tools.bench.ray_deployment", str(port), *options],
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": str(_ROOT), "HOME": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    told: list[str] = []
    # Nobody reads it otherwise, and it would wait.
    reading = threading.Thread(target=told.extend, args=(child.stderr,), daemon=True)
    reading.start()
    try:
        if not any(line == "ready\n" for line in child.stdout):
            reading.join(1.0)
            raise RuntimeError(f"Ray did not come up: {''.join(told)[-2000:]}")
        yield f"http://127.0.0.1:{port}/", child
        if child.poll() is None:
            child.stdin.close()
            if child.wait(_END_S) != 0:
                raise RuntimeError(f"Ray did not end well: {''.join(told)[-2000:]}")
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _main() -> None:
    import ray
    from ray import serve

    from streamser.emotion.remote.serving import app

    port, *options = sys.argv[1:]
    # Of its own, whatever else runs on this machine.
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=_MEMORY,
        include_dashboard=False,
        log_to_driver=False,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(app(dict(option.split("=", 1) for option in options)))
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    _main()
