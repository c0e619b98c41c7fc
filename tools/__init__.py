"""What measures the program and makes what it carries; not part of it.

Each package here is a program, ``python -m tools.NAME``; nothing of ``streamser`` imports them.
Reports are written by ``reporting``; what must not share memory runs ``isolated``.
"""
