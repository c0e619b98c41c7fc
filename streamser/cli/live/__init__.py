"""Sessions as they happen, or are played again: their sound, their sinks, what a terminal shows."""
