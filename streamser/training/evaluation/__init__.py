"""What is measured of a model: its answers, figures of them and how sure they are, reports."""
