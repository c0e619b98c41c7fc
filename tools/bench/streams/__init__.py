"""Live streams to a server: how many it holds, and whether it grows."""
