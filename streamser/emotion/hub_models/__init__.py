"""Public models of others by short names: found, loaded strictly, and heard together.

Born here: an ``EmotionModel`` of one published model, or of several, their labels brought to our
categories and dimensions. ``registry`` lists them; a new one is an entry there.
"""
