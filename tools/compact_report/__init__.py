"""The figures of the bundled model's card, measured through the very path that ships."""
