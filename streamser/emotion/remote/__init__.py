"""A big model elsewhere, on a GPU of others, and a small one here for when it is away.

Born here: what crosses between the two (``wire``). ``connect`` makes the emotion model that a
session asks; ``serving`` answers at the other end, ``ray_serve`` has Ray Serve do so.
"""
