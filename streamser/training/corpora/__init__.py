"""Readers that turn a user's own copy of a corpus into one manifest table.

Born here: ``Item``s with label, ratings, speaker and split. One module a corpus, named in
``registry``, which reads any other table too.
"""
