"""Whole sessions hosted where their models live: in this process, or in worker processes.

``records`` is what crosses. ``hosted`` drives sessions on an event loop, ``process`` is that loop
in a process of its own, at the other end of a ``channel``. ``link`` is one such process as seen
from here, ``remote`` a session there, and ``pool`` places sessions and replaces what is lost.
"""
