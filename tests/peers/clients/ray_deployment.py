"""Deploy a model in a Ray of its own, say ``ready``, and end with stdin.

Arguments: a port, and options of the deployment as ``NAME=VALUE``.
"""

from __future__ import annotations

import sys

import ray
from ray import serve

from streamser.emotion.remote.serving import app

MEMORY = 100 * 2**20
"""Bytes of the object store: nothing goes through it."""


def main() -> None:
    """Serve until stdin is at its end."""
    port, *options = sys.argv[1:]
    ray.init(num_cpus=2, object_store_memory=MEMORY, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(app(dict(option.split("=", 1) for option in options)))
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


main()
