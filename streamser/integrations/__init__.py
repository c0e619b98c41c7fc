"""Doors to the programs of others: each a thin translator over our events."""
