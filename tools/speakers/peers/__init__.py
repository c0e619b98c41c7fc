"""Programs of others that tell speakers apart, on the same made meetings and networks."""
