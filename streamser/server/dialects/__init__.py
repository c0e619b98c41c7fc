"""What clients say and are told, a protocol a file, each over the same commands and events."""
