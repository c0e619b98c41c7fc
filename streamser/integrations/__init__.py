"""Emotion where agents are built: a module for each framework, which imports it.

``notes`` needs no framework; ``pipecat`` wants the extra ``pipecat``, ``livekit`` the extra
``livekit``.
"""
