"""Speech: where it is, where utterances begin and end, what was said."""
