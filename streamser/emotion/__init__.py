"""Emotion: models that read voice and words, and the mood that follows."""
