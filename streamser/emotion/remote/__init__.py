"""A big model elsewhere, on a GPU of others, and a small one here for when it is away.

Born here: what crosses between the two (``wire``). ``model`` asks, by way of ``link``, and is the
emotion model of a session; ``serving`` answers at the other end, in Ray Serve.
"""
