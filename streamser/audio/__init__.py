"""Sound: sources, conversion to 16 kHz mono, storage.

Born here: ``AudioSource`` and what can be one (microphone, file, pipe, array), and ``AudioReader``,
which makes any of them ``Chunk``s of the program's own sound, with absolute sample numbers.
"""
