"""Attacks on a server, a client and the readers of files, by their public doors alone.

Born here: rows of figures, each with the most that it may be (``docs/security.md``).
"""
