"""The command line: one file a command, nothing heavy before it is needed."""
