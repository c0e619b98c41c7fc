"""From sound to events: the session core, the workers with the models, and the streams.

Born here: the events of a session, those of an utterance (``EmotionCompleted``) in ``session``
alone. ``stream`` drives a session, ``utterance`` asks models about it, ``pool`` and ``worker`` run
them, ``emitter`` numbers what is told. ``Analyzer`` is the door; ``docs/architecture.md`` the map.
"""
