"""The command line: one file a command, nothing heavy before it is needed.

``main`` lists the commands; ``options`` has what several share, ``sinks`` and ``live_view`` where
events go, ``console`` and ``signals`` how people are told and how it ends.
"""
