"""Readers that turn a user's own copy of a corpus into one manifest table."""
