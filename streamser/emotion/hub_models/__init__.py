"""Public models of others by short names: found, loaded strictly, and heard together."""
