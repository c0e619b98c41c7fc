"""Readers that turn a user's own copy of a corpus into one manifest table.

Born here: ``Item``s with label, ratings, speaker and split. Which corpora there are says
``registry``, which reads any other table too.
"""
