"""Measurements that anyone can rerun: how fast, how flat, how late."""
