"""Vary sound, features and words while training, and degrade sound while evaluating."""

from streamser.training.augment.augmenter import Augmenter, degrade_at_snr, vocabulary_of

__all__ = ["Augmenter", "degrade_at_snr", "vocabulary_of"]
