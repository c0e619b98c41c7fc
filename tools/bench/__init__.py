"""Measurements that anyone can rerun: how fast, how flat, how late."""

PROGRAM = "python -m tools.bench"
