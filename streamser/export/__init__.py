"""What a session leaves: its events read back as records, and written in formats of others.

Born here: a ``Recording`` of sessions and utterances out of files of events, and from it
subtitles, tables, EmotionML, tiers for Praat and ELAN; also what is played again, and what is left
of a recording once a person is taken out.
"""
