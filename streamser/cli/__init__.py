"""The command line: nothing heavy before it is needed.

``main`` lists the commands; ``live`` has those of sessions as they happen, ``files`` those of
files. ``options`` has what several share, ``console`` how people are told and how it ends.
"""
