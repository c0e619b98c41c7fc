"""Speech: where it is, where utterances begin and end, what was said.

Born here: probabilities of speech (``Vad``), the beginnings and ends of utterances
(``Endpointer``, which a ``TurnDetector`` feeds), and a ``Transcript`` with its settled words
(``Transcriber``, ``hypothesis``).
"""
