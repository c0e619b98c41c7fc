"""Several servers as one: which has which meeting, and what all of them may be told of it."""
