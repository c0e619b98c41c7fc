"""Emotion: models that read voice and words, and the mood that follows.

Born here: ``Features`` of a clip, whoever speaks (``EmotionModel.extract``), the ``Prediction``
of them against what is usual for a speaker (``SpeakerModel``), and the ``Mood`` of many.
``choose_model`` finds the model that a setting names.
"""
