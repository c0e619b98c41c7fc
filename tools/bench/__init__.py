"""Measurements that anyone can rerun: how fast, how flat, how late.

Born here: ``docs/bench-pipeline.md``, ``docs/bench-compact.md`` and ``docs/soak.md``; ``streams``
has the client and the server of the tests under load.
"""

PROGRAM = "python -m tools.bench"
