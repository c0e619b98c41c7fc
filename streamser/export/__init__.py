"""What a session leaves: its events read back as records, and written in formats of others."""
