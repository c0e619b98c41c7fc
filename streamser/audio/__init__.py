"""Sound: sources, conversion to 16 kHz mono, storage."""
