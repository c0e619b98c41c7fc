"""The embedder of voices that comes with the program: made from published weights, and judged."""
