"""A transcriber, an emotion model, two encoders and a sink for streamser."""
