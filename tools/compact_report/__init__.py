"""The figures of the bundled model's card, measured through the very path that ships.

Born here: ``docs/compact-report.md``, section by section, each figure beside its goal.
"""
