"""The same conversations, in real time, to this server and to those of others.

Born here: the tables of ``docs/performance.md`` that set servers side by side.
"""
