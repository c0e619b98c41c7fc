"""Whole sessions hosted where their models live: in this process, or in worker processes.

``records`` is what crosses; ``hosted`` drives a session on an event loop, ``process`` many of them
in a process of their own. ``link`` is the other end of such a process, ``remote`` a session there,
with a ``journal`` to go on elsewhere, and ``pool`` places sessions and replaces what is lost.
"""
