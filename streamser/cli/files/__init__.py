"""Files that are analysed, and those that a session leaves."""
