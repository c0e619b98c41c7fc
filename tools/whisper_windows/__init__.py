"""How well and how fast Whisper hears in windows of several kinds: docs/windows.md."""
